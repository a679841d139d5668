// The times of words after an edit.

import assert from "node:assert/strict";
import test from "node:test";

import { model } from "./model.mjs";

const { cutWord, retime, spread, textOf } = await model("words.js");

const word = (text, start, end) => ({ text, start, end, probability: 0.9 });
const HELLO = [word(" Hello", 0, 1), word(" well", 1, 1.5), word("-known", 1.5, 2), word(" world.", 2.5, 3)];

test("words that did not change keep their times, also where a word has two parts", () => {
  const words = retime(HELLO, " Hello, well-known world.", 0, 3);
  assert.deepEqual(words.slice(1), HELLO.slice(1));
  assert.deepEqual(words[0], { text: " Hello,", start: 0, end: 1, probability: null });
});

test("changed words share the span of those that they replace", () => {
  const words = retime(HELLO, " Hello very famous world.", 0, 3);
  assert.deepEqual(
    words.map((each) => each.text),
    [" Hello", " very", " famous", " world."],
  );
  assert.deepEqual([words[1].start, words[2].end], [1, 2]);
  assert.equal(words[1].end, words[2].start);
});

test("new words are in the pause where they were written", () => {
  const words = retime(HELLO, " Hello well-known new world.", 0, 3);
  assert.deepEqual(words[3], { text: " new", start: 2, end: 2.5, probability: null });
});

test("several changes at once leave the words between them as they were", () => {
  const words = retime(HELLO, " Hi well-known worlds.", 0, 3);
  assert.deepEqual(words.slice(1, 3), HELLO.slice(1, 3));
  assert.deepEqual([words[0].start, words[0].end, words[3].start, words[3].end], [0, 1, 2.5, 3]);
});

test("Chinese is compared character by character, and punctuation stays with its word", () => {
  const words = [word("你好", 0, 1), word("，", 1, 1), word("世界。", 1, 2)];
  assert.deepEqual(retime(words, "你好，新世界。", 0, 2).at(-1), words[2]);
  assert.deepEqual(
    retime(words, "您好，世界！", 0, 2).map((each) => each.text),
    ["您", "好", "，", "世", "界！"],
  );
});

test("whatever the text, it is kept, and times never go back", () => {
  let seed = 1;
  const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
  const vocabulary = ["a", "be", "see,", "你好", "día", "x-y", "ไทย", "…"];
  const sentence = () =>
    Array.from({ length: random(9) }, () => vocabulary[random(vocabulary.length)]).join(random(4) ? " " : "");
  for (let round = 0; round < 300; round += 1) {
    const before = spread(sentence(), 10, 20);
    const text = sentence();
    const after = retime(before, text, 10, 20);
    assert.equal(textOf(after).trim(), text.trim());
    after.forEach((each, index) =>
      assert.ok(each.start <= each.end && each.start >= (after[index - 1]?.end ?? 10) && each.end <= 20),
    );
  }
});

test("a long text is compared in time", () => {
  const words = spread(Array.from({ length: 20_000 }, (_, i) => `word${i}`).join(" "), 0, 7200);
  const text = textOf(words).replace("word7 ", "Word7 ").replace("word19990", "Word19990");
  const began = performance.now();
  assert.equal(textOf(retime(words, text, 0, 7200)), text);
  assert.ok(performance.now() - began < 2000);
});

test("a word that is cut has a share of its time on each side", () => {
  const [left, right] = cutWord(word(" together", 1, 2), 3);
  assert.deepEqual([left.text, right.text], [" to", "gether"]);
  assert.ok(left.start === 1 && left.end === right.start && right.end === 2 && left.end > 1.2 && left.end < 1.5);
});
