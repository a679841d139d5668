// Find and replace. Pure functions.

const SPECIAL = /[\\^$.*+?()[\]{}|/]/gu;

/** Return the pattern of a search, or null for an empty one. Throws SyntaxError if a regular expression is not valid. */
export function pattern(query, { isRegular = false, matchesCase = false, isWord = false } = {}) {
  if (!query) return null;
  const source = isRegular ? query : query.replace(SPECIAL, "\\$&");
  return new RegExp(
    isWord ? `(?<![\\p{L}\\p{N}_])(?:${source})(?![\\p{L}\\p{N}_])` : source,
    matchesCase ? "gu" : "giu",
  );
}

/** Return the matches in texts, in order: {index, start, end}, with the index of the text. Empty matches are left out. */
export function findAll(texts, regular) {
  return texts.flatMap((text, index) =>
    [...text.matchAll(regular)]
      .filter((match) => match[0])
      .map((match) => ({ index, start: match.index, end: match.index + match[0].length })),
  );
}

/** Return a text with one match replaced. `$1` and the like have a meaning only in a regular expression. */
export function replaceOne(text, regular, start, replacement, { isRegular = false } = {}) {
  const sticky = new RegExp(regular.source, `${regular.flags.replace("g", "")}y`);
  sticky.lastIndex = start;
  return text.replace(sticky, isRegular ? replacement : () => replacement);
}

/** Return a text with the matches of `findAll` replaced. */
export function replaceAll(text, regular, replacement, options = {}) {
  const parts = [];
  let at = 0;
  for (const { start, end } of findAll([text], regular)) {
    const replaced = replaceOne(text, regular, start, replacement, options);
    parts.push(text.slice(at, start), replaced.slice(start, replaced.length - (text.length - end)));
    at = end;
  }
  return parts.join("") + text.slice(at);
}
