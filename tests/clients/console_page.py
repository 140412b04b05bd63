"""Chromium at the console: log in, change the password, see the fleet, a live event, quarantine and release.

Drives chromedriver by the WebDriver protocol with nothing but the standard library. Prints ok.
usage: console_page.py URL ONE_TIME_PASSWORD FOLDER COMMAND...   (COMMAND makes the gateway refuse a message)
Without COMMAND, the browser runs no script of any page.
"""

import base64
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

URL, ONE_TIME, FOLDER, *PROVOKE = sys.argv[1:]
PATIENCE = 20
NEW_PASSWORD = "brass lantern over quiet water 41"
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver §11: the key of an element's reference


class Browser:
    def __init__(self):
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in self.driver.stdout:
            if "started successfully on port" in line:
                self.base = f"http://127.0.0.1:{line.rsplit(maxsplit=1)[1].rstrip('.')}"
                break
        else:
            raise SystemExit("chromedriver did not start")
        arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")  # Chromium refuses its sandbox to root
        options = {"args": [*arguments, f"--user-data-dir={FOLDER}/chromium"]}
        if not PROVOKE:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        capabilities = {
            "alwaysMatch": {
                "acceptInsecureCerts": True,
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL"},
            }
        }
        self.session = ""
        self.session = "/session/" + self.ask("POST", "/session", {"capabilities": capabilities})["sessionId"]

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + self.session + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise LookupError(json.load(error)["value"]["message"]) from None

    def go(self, path):
        self.ask("POST", "/url", {"url": URL + path})

    def find(self, css):
        found = self.ask("POST", "/element", {"using": "css selector", "value": css})
        return "/element/" + found[ELEMENT]

    def fill(self, css, text):
        element = self.find(css)
        self.ask("POST", element + "/clear", {})
        self.ask("POST", element + "/value", {"text": text})

    def click(self, css):
        self.ask("POST", self.find(css) + "/click", {})

    def text(self, css="body"):
        return self.ask("GET", self.find(css) + "/text")

    def source(self):
        return self.ask("GET", "/source")

    def script(self, code):
        return self.ask("POST", "/execute/sync", {"script": code, "args": []})

    def wait(self, what, so):
        until = time.monotonic() + PATIENCE
        while True:
            try:
                if so():
                    return
            except LookupError:
                pass
            if time.monotonic() > until:
                raise AssertionError(f"not within {PATIENCE} s: {what}; the page says:\n{self.text()}")
            time.sleep(0.1)

    def close(self):
        try:
            if self.session:
                self.ask("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(10)


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

    browser.ask("POST", "/window/rect", {"width": 390, "height": 844})
    browser.go("/")
    wide = browser.script("return document.documentElement.scrollWidth > window.innerWidth + 1")
    assert not wide, "the fleet is wider than a phone"
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
    browser.click("form[action='/logout'] button")
    browser.wait("the log-in page", lambda: browser.find("#password"))


def events(browser):
    browser.go("/events")
    browser.wait("the stream of events is open", lambda: browser.text("#live") == "Live")
    subprocess.run(PROVOKE, check=False, timeout=20, capture_output=True)
    refusal = ("porch", "refused", "probe/hall/report")
    browser.wait("the refusal appears by itself", lambda: all(w in browser.text("#events") for w in refusal))
    shot = pathlib.Path(FOLDER, "events.png")
    shot.write_bytes(base64.b64decode(browser.ask("GET", "/screenshot")))


def quarantine_and_release(browser):
    browser.go("/devices/porch")
    assert "probe/porch/report" in browser.text(), "the page does not say what the device may publish"
    browser.fill("#reason", "seen in the browser")
    browser.click("form[action='/devices/porch/quarantine'] button")
    browser.wait("the device is in quarantine", lambda: "seen in the browser" in browser.text(".note.warn"))
    browser.fill("#release-reason", "mended")
    browser.click("form[action='/devices/porch/release'] button")
    browser.wait("the device is released", lambda: browser.find("form[action='/devices/porch/quarantine']"))


browser = Browser()
try:
    story(browser)
finally:
    browser.close()
print("ok")
