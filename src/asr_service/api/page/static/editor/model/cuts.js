// Cuts lists of words in two, and joins them. Words are as in words.js.

import { columns, isUnspaced } from "./scripts.js";
import { cutWord, offsetsOf, textOf } from "./words.js";

/** Return the number of spaces before the text. */
export function leadOf(words) {
  const text = textOf(words);
  return text.length - text.trimStart().length;
}

/** Return the words before and after a place in their text. A word around it becomes two. */
export function cutWords(words, offset) {
  const [head, tail] = [[], []];
  offsetsOf(words).forEach((start, index) => {
    const word = words[index];
    const n = offset - start; // characters of the word before the place
    if (n >= word.text.trimEnd().length) head.push(word);
    else if (!word.text.slice(0, Math.max(n, 0)).trim()) tail.push(word);
    else {
      const [left, right] = cutWord(word, n);
      head.push(left);
      tail.push(right);
    }
  });
  return [head, tail];
}

/** Return both lists as one, with a space between them if their scripts need it. */
export function joinWords(before, after) {
  const sides = [textOf(before).at(-1) ?? "", textOf(after)[0] ?? ""];
  const isSpaced = !sides.some((character) => isUnspaced(character) || columns(character) > 1);
  return [...before, ...(isSpaced ? withSpace(after) : after)];
}

/** Return words that begin with a space, unless their script has none. */
export function withSpace(words) {
  if (/^\s/u.test(words[0].text) || isUnspaced(words[0].text[0])) return words;
  return [{ ...words[0], text: ` ${words[0].text}` }, ...words.slice(1)];
}
