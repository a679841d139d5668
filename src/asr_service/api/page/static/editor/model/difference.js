// Compares two lists of stored segments. Pure functions.

/**
 * Return the part in which `after` differs from `before`: the places `start` to `end` of `before`, the number of places
 * that were `removed` there and `inserted` instead, and whether there `isNone`.
 */
export function difference(before, after) {
  const isSame = (one, other) => one === other || JSON.stringify(one) === JSON.stringify(other);
  const least = Math.min(before.length, after.length);
  let start = 0;
  while (start < least && isSame(before[start], after[start])) start += 1;
  let rest = 0; // equal places at the end
  while (rest < least - start && isSame(before.at(-1 - rest), after.at(-1 - rest))) rest += 1;
  const end = before.length - rest;
  const inserted = after.length - rest - start;
  return { start, end, removed: end - start, inserted, isNone: start === end && inserted === 0 };
}
