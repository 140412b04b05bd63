"use strict";
// The live part: new events at the top of the table. Text only ever becomes text (textContent).
(() => {
  const status = document.getElementById("live");
  const table = document.getElementById("events");
  if (status && status.dataset.stream && table && window.EventSource) {
    const body = table.tBodies[0];
    const limit = Number(status.dataset.rows);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const say = (on, text) => {
      status.dataset.on = on ? "yes" : "no";
      if (status.textContent !== text) status.textContent = text;
    };
    const make = (tag, className, text) => {
      const element = document.createElement(tag);
      if (className) element.className = className;
      if (text) element.textContent = text;
      return element;
    };
    const cell = (label, className, child) => {
      const td = make("td", className);
      td.dataset.label = label;
      td.append(child);
      return td;
    };
    const known = new Set(["admitted", "refused", "changed", "alarm"]);
    const row = (event) => {
      const time = make("time", "", `${event.at.slice(0, 10)} ${event.at.slice(11, 19)}`);
      time.dateTime = event.at;
      const outcome = make("span", `badge ${known.has(event.outcome) ? event.outcome : ""}`, event.outcome);
      const device = make("span");
      if (event.device && /^[a-z0-9][a-z0-9._-]{0,63}$/.test(event.device)) {
        const link = make("a", "", event.device);
        link.href = `/devices/${event.device}`;
        device.append(link);
      } else {
        device.append(event.device || "not known");
      }
      if (event.peer) device.append(" ", make("span", "muted num peer", event.peer));
      const control = make("span");
      control.append(make("span", "tag", event.control));
      const why = make("span");
      event.reason.split("`").forEach((text, n) => why.append(n % 2 ? make("code", "", text) : text));
      const tr = make("tr", still ? "" : "new");
      tr.append(
        cell("Time (UTC)", "num nowrap", time),
        cell("Outcome", "", outcome),
        cell("Device", "", device),
        cell("Protocol", "", control),
        cell("Why", "why", why),
      );
      return tr;
    };
    const source = new EventSource(status.dataset.stream);
    source.onopen = () => say(true, "Live");
    source.onerror = () => say(false, source.readyState === EventSource.CLOSED
      ? "Not live: reload to see what is new" : "Connection lost, trying again");
    source.onmessage = (message) => {
      document.getElementById("no-events")?.remove();
      body.prepend(row(JSON.parse(message.data)));
      while (body.rows.length > limit) body.lastElementChild.remove();
    };
    source.addEventListener("missed", () => say(true, "Live; some events were missed, reload to see all"));
    window.addEventListener("pagehide", () => source.close());
  }

  // A profile from a file: read here into the text field, so that it can be seen before it is sent.
  const field = document.getElementById("from-file");
  const file = document.getElementById("file");
  const text = document.getElementById("source");
  if (field && file && text) {
    field.hidden = false;
    file.addEventListener("change", async () => {
      const chosen = file.files[0];
      if (chosen && chosen.size <= 131072) text.value = await chosen.text();
    });
  }
})();
