"""Drives chromedriver by the WebDriver protocol with nothing but the standard library."""

import base64
import json
import os
import pathlib
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

PATIENCE = 20
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver §11: the key of an element's reference


class Browser:
    def __init__(self, url, folder, script=True):
        self.url = url
        self.folder = folder
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
        options = {"args": [*arguments, f"--user-data-dir={tempfile.mkdtemp(dir=folder)}"]}
        if not script:
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
        self.ask("POST", "/url", {"url": self.url + path})

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

    def shot(self, name):
        picture = base64.b64decode(self.ask("GET", "/screenshot"))
        pathlib.Path(self.folder, f"{name}.png").write_bytes(picture)

    def size(self, width, height):
        self.ask("POST", "/window/rect", {"width": width, "height": height})

    def close(self):
        try:
            if self.session:
                self.ask("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(10)
