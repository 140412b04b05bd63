"""Chromium at a device's own page: first log-in, change of the password, overview, UPnP on, countdown, expiry, mending.

Leaves pictures in FOLDER and prints ok.
usage: device_page.py URL FIRST_PASSWORD FOLDER INTERFACE MODE   (MODE: script, or plain for no script at all)
"""

import sys

from browser import Browser

URL, FIRST, FOLDER, INTERFACE, MODE = sys.argv[1:]
SCRIPT = MODE == "script"
CHOSEN = "brass lantern over quiet water 41"
PAGES = ["/", "/plan", "/undo", "/work", "/blocked", "/upnp", "/gateway", "/log", "/password"]
PROTOCOLS = [
    "Secure communications",
    "Up-to-date protocols",
    "UPnP",
    "Firewall",
    "Secure operating system",
    "Data in the cloud",
    "Physical security",
]
# Seconds for which UPnP is on: long enough to see it count, and without script to be looked at again.
SHORT = 6


def log_in(browser):
    browser.go("/")
    browser.wait("the log-in page", lambda: browser.find("#password"))
    browser.shot(f"{MODE}-login")
    browser.fill("#password", "not the password")
    browser.click("main form button")
    browser.wait("a wrong password is refused", lambda: browser.find("#fault"))
    browser.fill("#password", FIRST)
    browser.click("main form button")
    browser.wait("the page that asks for a new password", lambda: browser.find("#again"))
    browser.go("/upnp")
    assert browser.find("#again"), "nothing but the change is allowed"
    browser.fill("#current", FIRST)
    browser.fill("#new", CHOSEN)
    browser.fill("#again", CHOSEN)
    browser.click("main form button")
    browser.wait("the overview", lambda: "Look again" in browser.text())
    overview = browser.text()
    for protocol in PROTOCOLS:
        assert protocol in overview, protocol
    browser.shot(f"{MODE}-overview")


def upnp(browser):
    browser.click("nav a[href='/upnp']")
    browser.wait("UPnP is off", lambda: browser.text("h1") == "UPnP is off")
    browser.shot(f"{MODE}-upnp-off")
    browser.click("main form button")
    browser.wait("what it would allow", lambda: "Switch UPnP on for" in browser.text("h1"))
    browser.shot(f"{MODE}-upnp-confirm")
    browser.go(f"/upnp/on?interface={INTERFACE}&seconds={SHORT}")
    browser.fill("#password", "a guess")
    browser.click("main form button")
    browser.wait("a wrong password switches nothing on", lambda: browser.find("#fault"))
    browser.fill("#password", CHOSEN)
    browser.click("main form button")
    browser.wait("UPnP is on", lambda: browser.text("h1") == "UPnP is on")
    first = browser.text("#left")
    browser.shot(f"{MODE}-upnp-on")
    if SCRIPT:
        browser.wait("the countdown moves by itself", lambda: browser.text("#left") != first)
    browser.wait("it goes off, and the page says so by itself", lambda: browser.text("h1") == "UPnP is off")
    browser.go(f"/upnp/on?interface={INTERFACE}&seconds=60")
    browser.fill("#password", CHOSEN)
    browser.click("main form button")
    browser.wait("UPnP is on", lambda: browser.text("h1") == "UPnP is on")
    browser.click("form[action='/upnp/off'] button")
    browser.wait("it goes off by a click", lambda: browser.text("h1") == "UPnP is off")


def mend(browser):
    browser.go("/plan")
    browser.shot(f"{MODE}-plan")
    browser.fill("#password", CHOSEN)
    browser.click("main form button")
    browser.wait("it is done", lambda: browser.find("#done"))
    browser.shot(f"{MODE}-done")


def looks(browser):
    for width, height in [(1280, 900), (390, 844), (320, 640)]:
        browser.size(width, height)
        for path in PAGES:
            browser.go(path)
            wide = browser.script("return document.documentElement.scrollWidth > window.innerWidth + 1")
            assert not wide, f"{path} is wider than {width} px"
            if width == 390:
                browser.shot(f"phone-{path.strip('/') or 'overview'}")
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.ask("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": dark})
    browser.go("/")
    browser.shot("phone-dark")
    browser.ask("POST", browser.find("body") + "/value", {"text": "\ue004"})
    focus = browser.script("return document.activeElement.className")
    assert focus == "skip", f"the first Tab leads to {focus!r}"
    log = browser.ask("POST", "/se/log", {"type": "browser"})
    # Refused passwords are answers of 4xx, which Chromium logs too.
    faults = [entry["message"] for entry in log if entry["level"] == "SEVERE" and "status of 4" not in entry["message"]]
    assert not faults, faults


browser = Browser(URL, FOLDER, script=SCRIPT)
try:
    log_in(browser)
    upnp(browser)
    mend(browser)
    if SCRIPT:
        looks(browser)
    browser.click("form[action='/logout'] button")
    browser.wait("the log-in page", lambda: "This device's own page" in browser.text())
finally:
    browser.close()
print("ok")
