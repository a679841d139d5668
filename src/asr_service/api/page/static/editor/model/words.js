// Gives times to the words of an edited text. A word is {text, start, end, probability}: `text` has the space before
// the word, times are seconds, and `probability` is null for words that a person wrote. Pure functions.

import { columns, isUnspaced } from "./scripts.js";

const MAX_TABLE = 4_000_000; // cells of the table of the comparison; beyond it, all of the middle counts as changed
const PUNCTUATION = /^\p{P}+$/u;

/** Return the text of words. */
export function textOf(words) {
  return words.map((word) => word.text).join("");
}

/** Return the words of a text that has no times of its own, with the span from `start` to `end` divided among them. */
export function spread(text, start, end) {
  const letters = lettersOf(text);
  return timed(wordsBetween(letters, 0, letters.text.length), start, end);
}

/**
 * Return the words of `text`, which replaces that of `words`. Words that are in both keep their times and
 * probabilities. The others get the span of the words that they replace, or else the pause in which they are.
 */
export function retime(words, text, start, end) {
  const after = lettersOf(text);
  const before = lettersOf(textOf(words));
  const kept = keptWords(words, before, after);
  const result = [];
  let at = 0; // letters of the new text that have a word
  let used = 0; // words of the old text before this place
  for (const { index, offset, length } of [...kept, { index: words.length, offset: after.text.length, length: 0 }]) {
    if (offset > at) {
      const replaced = words.slice(used, index);
      const from = replaced.length ? replaced[0].start : (words[used - 1]?.end ?? start);
      const to = replaced.length ? replaced.at(-1).end : (words[index]?.start ?? end);
      result.push(...timed(wordsBetween(after, at, offset), from, to));
    }
    if (length) result.push({ ...words[index], text: spaced(after, offset, offset + length) });
    at = offset + length;
    used = index + 1;
  }
  return result;
}

/** Return the two words that one word becomes if it is cut after `n` characters of its text. */
export function cutWord(word, n) {
  const [head, tail] = [word.text.slice(0, n), word.text.slice(n)];
  const middle = word.start + ((word.end - word.start) * columns(head)) / Math.max(columns(word.text), 1);
  const rounded = Math.round(middle * 1000) / 1000;
  return [
    { text: head, start: word.start, end: rounded, probability: null },
    { text: tail, start: rounded, end: word.end, probability: null },
  ];
}

/** Return the offsets at which words begin in `textOf(words)`. */
export function offsetsOf(words) {
  let offset = 0;
  return words.map((word) => (offset += word.text.length) - word.text.length);
}

/** A text without its spaces: `spaces` has the offsets that have one before them. */
function lettersOf(text) {
  const spaces = new Set();
  const parts = [];
  let length = 0;
  for (const [, space, part] of text.matchAll(/(\s*)(\S+)/gu)) {
    if (space) spaces.add(length);
    parts.push(part);
    length += part.length;
  }
  return { text: parts.join(""), spaces };
}

/** Return the parts that are compared: words, or single characters of a script without spaces. */
function atomsOf(letters) {
  const atoms = [];
  let start = 0;
  let offset = 0;
  let isOpen = false;
  for (const character of letters.text) {
    const single = isUnspaced(character);
    if (offset > start && (single || !isOpen || letters.spaces.has(offset))) {
      atoms.push({ offset: start, text: letters.text.slice(start, offset) });
      start = offset;
    }
    isOpen = !single;
    offset += character.length;
  }
  if (offset > start) atoms.push({ offset: start, text: letters.text.slice(start) });
  return atoms;
}

/** Return the words that both texts have: their index, and their place among the letters of the new text. */
function keptWords(words, before, after) {
  const place = new Int32Array(before.text.length).fill(-1); // of each letter, in the new text
  for (const [one, other] of common(atomsOf(before), atomsOf(after))) {
    for (let i = 0; i < one.text.length; i += 1) place[one.offset + i] = other.offset + i;
  }
  const kept = [];
  let start = 0;
  words.forEach((word, index) => {
    const length = word.text.replace(/\s+/gu, "").length;
    const offset = place[start];
    let isWhole = length > 0 && offset >= 0;
    for (let i = 1; isWhole && i < length; i += 1) isWhole = place[start + i] === offset + i;
    if (isWhole) kept.push({ index, offset, length });
    start += length;
  });
  return kept;
}

/** Return the pairs of a longest common subsequence. */
function common(before, after) {
  let head = 0;
  while (head < before.length && head < after.length && before[head].text === after[head].text) head += 1;
  let tail = 0;
  const most = Math.min(before.length, after.length) - head;
  while (tail < most && before.at(-1 - tail).text === after.at(-1 - tail).text) tail += 1;
  const pairs = [];
  for (let i = 0; i < head; i += 1) pairs.push([before[i], after[i]]);
  pairs.push(...commonMiddle(before.slice(head, before.length - tail), after.slice(head, after.length - tail)));
  for (let i = tail; i > 0; i -= 1) pairs.push([before.at(-i), after.at(-i)]);
  return pairs;
}

function commonMiddle(before, after) {
  const [n, m] = [before.length, after.length];
  if (!n || !m || n * m > MAX_TABLE) return [];
  const width = m + 1;
  const lengths = new Uint32Array((n + 1) * width);
  for (let i = n - 1; i >= 0; i -= 1) {
    for (let j = m - 1; j >= 0; j -= 1) {
      lengths[i * width + j] =
        before[i].text === after[j].text
          ? lengths[(i + 1) * width + j + 1] + 1
          : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  const pairs = [];
  for (let i = 0, j = 0; i < n && j < m;) {
    if (before[i].text === after[j].text) pairs.push([before[i++], after[j++]]);
    else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) i += 1;
    else j += 1;
  }
  return pairs;
}

/** Return the texts of the words among some of the letters. Punctuation belongs to the word before it. */
function wordsBetween(letters, from, to) {
  const part = { text: letters.text.slice(from, to), spaces: new Set() };
  letters.spaces.forEach((offset) => offset > from && offset < to && part.spaces.add(offset - from));
  const texts = [];
  for (const { offset, text } of atomsOf(part)) {
    const isFollowed = texts.length > 0 && !part.spaces.has(offset);
    if (isFollowed && PUNCTUATION.test(text)) texts[texts.length - 1] += text;
    else texts.push(spaced(letters, from + offset, from + offset + text.length));
  }
  return texts;
}

/** Return some of the letters with their spaces, and with the space before them. */
function spaced(letters, from, to) {
  let text = "";
  for (let offset = from; offset < to; offset += 1) {
    text += (letters.spaces.has(offset) ? " " : "") + letters.text[offset];
  }
  return text;
}

/** Divide a span among words in proportion to their width. */
function timed(texts, start, end) {
  const length = Math.max(end - start, 0);
  const whole = texts.reduce((sum, text) => sum + columns(text), 0) || 1;
  const at = (width) => Math.round((start + (length * width) / whole) * 1000) / 1000;
  let width = 0;
  return texts.map((text) => {
    const from = at(width);
    width += columns(text);
    return { text, start: from, end: at(width), probability: null };
  });
}
