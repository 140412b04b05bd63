"""Chromium at the console: log in, change the password, see the fleet, a live event, quarantine and release.

Prints ok.
usage: console_page.py URL ONE_TIME_PASSWORD FOLDER COMMAND...   (COMMAND makes the gateway refuse a message)
Without COMMAND, the browser runs no script of any page.
"""

import subprocess
import sys

from browser import Browser

URL, ONE_TIME, FOLDER, *PROVOKE = sys.argv[1:]
NEW_PASSWORD = "brass lantern over quiet water 41"


def story(browser):
    browser.go("/")
    browser.wait("the log-in page", lambda: browser.find("#password"))
    browser.fill("#password", "not the password")
    browser.click("form button")
    browser.wait("the wrong password is refused", lambda: browser.find("#fault"))
    browser.fill("#password", ONE_TIME)
    browser.click("form button")
    browser.wait("the page that asks for a new password", lambda: browser.find("#again"))
    browser.fill("#current", ONE_TIME)
    browser.fill("#new", NEW_PASSWORD)
    browser.fill("#again", NEW_PASSWORD)
    browser.click("main form button")
    browser.wait("the password is changed", lambda: 'id="again"' not in browser.source())

    browser.go("/")
    browser.wait("the fleet", lambda: "porch" in browser.text("td.device"))
    row = browser.text("tbody tr")
    assert "probe" in row and "active" in row.lower(), row
    if PROVOKE:
        events(browser)
    quarantine_and_release(browser)
    if not PROVOKE:
        without_script(browser)
        return

    browser.size(390, 844)
    for page in ("/", "/data", "/data/reading", "/data/log", "/tokens", "/devices/porch/erase"):
        browser.go(page)
        wide = browser.script("return document.documentElement.scrollWidth > window.innerWidth + 1")
        assert not wide, f"{page} is wider than a phone"
    log = browser.ask("POST", "/se/log", {"type": "browser"})
    # The refused log-in is an answer of 4xx, which Chromium logs too.
    faults = [entry["message"] for entry in log if entry["level"] == "SEVERE" and "status of 4" not in entry["message"]]
    assert not faults, faults


def without_script(browser):
    # That it really runs none is seen where a script would change the page.
    browser.go("/events")
    assert "quarantined: seen in the browser" in browser.text("#events"), browser.text()
    assert browser.text("#live") != "Live", "a script ran"
    browser.go("/devices/new")
    browser.fill("#id", "attic")
    browser.click("main form button")
    browser.wait("the one-time code", lambda: len(browser.text("#one-time-code")) > 20)
    browser.go("/devices/attic/revoke")
    browser.fill("[name=reason]", "lost")
    browser.click("main form button")
    browser.wait("the device is revoked", lambda: "revoked" in browser.text().lower())
    browser.go("/tokens")
    browser.fill("#name", "ana")
    browser.click("#add + form button")
    browser.wait("the token", lambda: browser.text("#token").startswith("stockade_"))
    browser.click("form[action='/tokens/ana/revoke'] button")
    browser.wait("the token is taken back", lambda: "There is no token" in browser.text())
    browser.go("/data/log")
    assert "revoked 1" in browser.text("tbody tr"), browser.text()
    browser.click("form[action='/logout'] button")
    browser.wait("the log-in page", lambda: browser.find("#password"))


def events(browser):
    browser.go("/events")
    browser.wait("the stream of events is open", lambda: browser.text("#live") == "Live")
    subprocess.run(PROVOKE, check=False, timeout=20, capture_output=True)
    refusal = ("porch", "refused", "probe/hall/report")
    browser.wait("the refusal appears by itself", lambda: all(w in browser.text("#events") for w in refusal))
    browser.shot("events")


def quarantine_and_release(browser):
    browser.go("/devices/porch")
    assert "probe/porch/report" in browser.text(), "the page does not say what the device may publish"
    browser.fill("#reason", "seen in the browser")
    browser.click("form[action='/devices/porch/quarantine'] button")
    browser.wait("the device is in quarantine", lambda: "seen in the browser" in browser.text(".note.warn"))
    browser.fill("#release-reason", "mended")
    browser.click("form[action='/devices/porch/release'] button")
    browser.wait("the device is released", lambda: browser.find("form[action='/devices/porch/quarantine']"))


browser = Browser(URL, FOLDER, script=bool(PROVOKE))
try:
    story(browser)
finally:
    browser.close()
print("ok")
