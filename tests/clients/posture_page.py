"""Chromium at the demo's camera: wrong, mended by itself, taken back and mended again from the page.

Prints ok, and leaves wrong.png and good.png.
usage: posture_page.py URL ONE_TIME_PASSWORD FOLDER
"""

import sys

from browser import Browser

URL, ONE_TIME, FOLDER = sys.argv[1:]
NEW_PASSWORD = "brass lantern over quiet water 41"
CAMERA = "/devices/demo-camera"


def story(browser):
    browser.go("/")
    browser.wait("the log-in page", lambda: browser.find("#password"))
    browser.fill("#password", ONE_TIME)
    browser.click("form button")
    browser.wait("the page that asks for a new password", lambda: browser.find("#again"))
    for field, text in (("#current", ONE_TIME), ("#new", NEW_PASSWORD), ("#again", NEW_PASSWORD)):
        browser.fill(field, text)
    browser.click("main form button")
    browser.wait("the password is changed", lambda: 'id="again"' not in browser.source())

    stands(browser, "it mends itself", "in order", "active")
    browser.click(".wishes form:has([value=undo]) button")
    stands(browser, "the faults are back", "something is wrong", "quarantined")
    said = browser.text("section[aria-labelledby=posture]")
    assert "credentials/default-password critical account `guest`" in said, said
    browser.shot("wrong")
    browser.click(".wishes form:has([value=apply]) button")
    stands(browser, "they are mended", "in order", "active")
    assert "default-password" not in browser.text("section[aria-labelledby=posture]"), browser.text()
    browser.shot("good")


def stands(browser, what, verdict, state):
    def so():
        browser.go(CAMERA)
        system = browser.text(".verdicts li:nth-child(5) h3").split("\n")
        return system == ["Secure operating system", verdict] and browser.text(".titled .badge").lower() == state

    browser.wait(what, so)


browser = Browser(URL, FOLDER)
try:
    story(browser)
finally:
    browser.close()
print("ok")
