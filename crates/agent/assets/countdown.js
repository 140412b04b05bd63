"use strict";
// Counts down what the page said, and looks again when it is over. Text only ever becomes text (textContent).
(() => {
  const place = document.getElementById("left");
  if (!place) return;
  const until = performance.now() + Number(place.dataset.seconds) * 1000;
  const two = (count, one, rest, other) => (rest ? `${count} ${one} ${rest} ${other}` : `${count} ${one}`);
  const words = (all) => {
    const hours = Math.floor(all / 3600);
    const minutes = Math.floor(all / 60) % 60;
    if (hours) return two(hours, "h", minutes, "min");
    return minutes ? two(minutes, "min", all % 60, "s") : `${all} s`;
  };
  const tick = () => {
    const left = Math.max(0, Math.ceil((until - performance.now()) / 1000));
    place.textContent = words(left);
    if (left) setTimeout(tick, 1000);
    // The device ends it by its own clock: a moment later it is over there, too.
    else setTimeout(() => location.reload(), 1500);
  };
  tick();
})();
