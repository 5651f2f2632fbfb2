/**
 * A function that may be called as often as one likes: `paint` runs in the next animation frame, once, and not more
 * often than each `everyMs`. A thousand events a second then cost a handful of layouts.
 *
 * @param {() => void} paint
 * @param {number} [everyMs]
 */
export function paced(paint, everyMs = 0) {
  let asked = false;
  let last = -Infinity;
  const inFrame = () => {
    if (performance.now() - last < everyMs) return requestAnimationFrame(inFrame);
    asked = false;
    last = performance.now();
    paint();
  };
  return () => {
    if (!asked) requestAnimationFrame(inFrame);
    asked = true;
  };
}
