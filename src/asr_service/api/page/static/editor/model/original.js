// The transcript of the service, and the form in which edits of it are stored: unchanged segments, and unchanged words,
// are numbers of segments of the transcript.

import { spread, textOf } from "./words.js";

const FORMAT = 1;
const UNKNOWN_SCORES = { avg_logprob: null, no_speech_prob: null, compression_ratio: null, temperature: null };

export class Original {
  #transcript;
  #newId;
  #byId;
  #sources;
  #fingerprint;

  /** `transcript` is the JSON of the service. `newId` returns the id of a segment. */
  constructor(transcript, newId) {
    this.#transcript = transcript;
    this.#newId = newId;
    this.#fingerprint = fingerprint(transcript);
    this.segments = transcript.segments.map((segment, source) => this.#read(segment, source));
    this.#byId = new Map(this.segments.map((segment) => [segment.id, segment]));
    this.#sources = new Map(this.segments.map(({ words }, source) => [words, source]));
  }

  get task() {
    return this.#transcript.task;
  }

  /** Return the segment with this id if `segment` has become equal to it, or else `segment`. */
  orChanged(segment) {
    const own = this.#byId.get(segment.id);
    return own && isEqual(own, segment) ? own : Object.freeze(segment);
  }

  /** Return whether stored edits are of this transcript. */
  has(edits) {
    return edits?.format === FORMAT && edits.base === this.#fingerprint;
  }

  /** Return the stored form of segments. */
  edits(segments) {
    const stored = segments.map((segment) => segment.source ?? this.#written(segment));
    return { format: FORMAT, base: this.#fingerprint, segments: stored };
  }

  /** Return the segments of their stored form. */
  read(stored) {
    return stored.map((each) => (typeof each === "number" ? this.segments[each] : this.#readEdited(each)));
  }

  /** Return the JSON of the service with other segments, and with a `speaker` in those that have one. */
  transcript(edited) {
    const isTimed = this.#transcript.segments.some((segment) => segment.words);
    const segments = edited.map((segment, id) => {
      const { start, end, language, speaker, source } = segment;
      const scores = source === null ? UNKNOWN_SCORES : this.#transcript.segments[source];
      const words = segment.words.map(({ text, ...times }) => ({ word: text, ...times }));
      return {
        ...scores,
        ...{ id, start, end, text: textOf(segment.words), language },
        ...(speaker ? { speaker } : {}),
        ...(isTimed ? { words } : {}),
      };
    });
    const text = segments.map((segment) => segment.text).join("");
    return { ...this.#transcript, text: text.trim(), segments };
  }

  #read(segment, source) {
    const words = (segment.words ?? []).map(({ word, start, end, probability }) => ({
      text: word,
      start,
      end,
      probability: probability ?? null,
    }));
    const isWhole = words.length > 0 && textOf(words).replace(/\s/gu, "") === segment.text.replace(/\s/gu, "");
    return Object.freeze({
      id: this.#newId(),
      source,
      start: segment.start,
      end: segment.end,
      language: segment.language ?? this.#transcript.language ?? null,
      speaker: segment.speaker ?? "",
      words: isWhole ? words : spread(segment.text, segment.start, segment.end),
    });
  }

  #written({ start, end, language, speaker, words }) {
    return { start, end, language, speaker, words: this.#sources.get(words) ?? words };
  }

  #readEdited({ words, ...segment }) {
    const own = typeof words === "number" ? this.segments[words].words : words;
    return Object.freeze({ ...segment, words: own, id: this.#newId(), source: null });
  }
}

function isEqual(one, other) {
  const { start, end, speaker, words } = other;
  const isSame = one.start === start && one.end === end && one.speaker === speaker;
  return isSame && (one.words === words || JSON.stringify(one.words) === JSON.stringify(words));
}

/** Return a text that differs for different transcripts: edits are of use only with the one they belong to. */
function fingerprint(transcript) {
  let hash = 5381;
  for (const segment of transcript.segments) {
    for (const character of `${segment.start}${segment.text}`) hash = (hash * 33 + character.codePointAt(0)) >>> 0;
  }
  return `${transcript.segments.length}-${hash.toString(16)}`;
}
