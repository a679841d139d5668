// Finds places of the document by time. Pure functions.

const LINGER_S = 0.6; // how long a word stays lit in a pause after it

/** Return the position of the segment at a time: the last one that has begun; 0 before all. */
export function segmentAt(segments, time) {
  return Math.max(lastBegun(segments, time), 0);
}

/** Return the place of the word that is spoken at a time, {position, index}, or null. */
export function wordAt(segments, time) {
  const position = lastBegun(segments, time);
  if (position < 0) return null;
  const { words } = segments[position];
  const index = lastBegun(words, time);
  return index >= 0 && time < words[index].end + LINGER_S ? { position, index } : null;
}

/** Return the place of the word after (`step` 1) or before (-1) a place, or null at the ends. */
export function neighbour(segments, { position, index }, step) {
  const next = index + step;
  if (segments[position]?.words[next]) return { position, index: next };
  for (let other = position + step; segments[other]; other += step) {
    const count = segments[other].words.length;
    if (count) return { position: other, index: step > 0 ? 0 : count - 1 };
  }
  return null;
}

/** Return whether a word is one that the model was unsure of. */
export function isDoubtful(word) {
  return word.probability !== null && word.probability < 0.5 && /[\p{L}\p{N}]/u.test(word.text);
}

/** Return the place of the next doubtful word in a direction, or null. */
export function nextDoubtful(segments, place, step) {
  let next = neighbour(segments, place, step);
  while (next && !isDoubtful(segments[next.position].words[next.index])) next = neighbour(segments, next, step);
  return next;
}

function lastBegun(spans, time) {
  let [low, high] = [0, spans.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (spans[middle].start <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
