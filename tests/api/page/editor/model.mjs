// Finds the modules under test.

const MODEL = "../../../../src/asr_service/api/page/static/editor/model/";

export function model(name) {
  return import(new URL(MODEL + name, import.meta.url));
}

/** Return the JSON of a transcript whose words take half a second each; segments begin four seconds apart. */
export function transcriptOf(...texts) {
  const segments = texts.map((text, id) => {
    const words = text.split(" ").map((each, index) => ({
      word: ` ${each}`,
      start: 4 * id + index / 2,
      end: 4 * id + index / 2 + 0.5,
      probability: 0.9,
    }));
    const scores = { avg_logprob: -0.2, no_speech_prob: 0, compression_ratio: 1, temperature: 0 };
    return { id, start: 4 * id, end: words.at(-1).end, text: ` ${text}`, ...scores, language: "en", words };
  });
  return { text: texts.join(" "), task: "transcribe", language: "en", duration: 4 * texts.length, segments };
}
