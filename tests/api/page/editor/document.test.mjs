// The document of the editor: changes, undo, and what is kept of them.

import assert from "node:assert/strict";
import test from "node:test";

import { model, transcriptOf } from "./model.mjs";

const { REACH, TranscriptDocument } = await model("document.js");

const TRANSCRIPT = transcriptOf("Hello brave new world.", "How are you?", "Fine.");
const opened = (saved) => new TranscriptDocument(TRANSCRIPT, saved);
const idsOf = (document) => document.segments.map((segment) => segment.id);
const textsOf = (document) => idsOf(document).map((id) => document.text(id));
const spansOf = (document) => document.segments.map(({ start, end }) => [start, end]);

test("an untouched transcript comes out as it went in", () => {
  assert.deepEqual(opened().transcript(), TRANSCRIPT);
  assert.equal(opened().isEdited, false);
});

test("a split cuts at the words, and each part has their times", () => {
  const document = opened();
  const [first] = idsOf(document);
  assert.ok(document.split(first, 12));
  assert.deepEqual(textsOf(document).slice(0, 2), ["Hello brave", "new world."]);
  assert.deepEqual(spansOf(document).slice(0, 2), [
    [0, 1],
    [1, 2],
  ]);
});

test("a split within a word divides it; one at an end does nothing", () => {
  const document = opened();
  const [first] = idsOf(document);
  assert.equal(document.split(first, 0), null);
  assert.equal(document.split(first, 22), null);
  document.split(first, 8);
  assert.deepEqual(textsOf(document).slice(0, 2), ["Hello br", "ave new world."]);
  assert.deepEqual(spansOf(document).slice(0, 2).flat()[1], spansOf(document)[1][0]);
});

test("a merge joins texts and times, and undoes a split", () => {
  const document = opened();
  const [first, second] = idsOf(document);
  assert.equal(document.merge(first), "Hello brave new world. ".length);
  assert.deepEqual(textsOf(document), ["Hello brave new world. How are you?", "Fine."]);
  assert.deepEqual(spansOf(document)[0], [0, 5.5]);
  document.undo();
  document.splitBeforeWord(second, 1);
  document.merge(second);
  assert.deepEqual(document.transcript(), TRANSCRIPT);
});

test("a merge in Chinese adds no space", () => {
  const segments = ["你好。", "世界。"].map((text, id) => ({
    id,
    start: id,
    end: id + 1,
    text,
    language: "zh",
    words: null,
  }));
  const document = new TranscriptDocument({ ...TRANSCRIPT, segments });
  document.merge(idsOf(document)[0]);
  assert.deepEqual(textsOf(document), ["你好。世界。"]);
});

test("every change can be undone and repeated, and the document says what changes", () => {
  const document = opened();
  const [first, second, third] = idsOf(document);
  const states = [JSON.stringify(document.transcript())];
  const changes = [];
  document.subscribe((change) => changes.push(change));
  const actions = [
    () => document.setText(first, "Hello old world."),
    () => document.split(first, 6),
    () => document.setSpeaker(second, "Ann"),
    () => document.merge(second),
    () =>
      document.setTexts([
        [first, "Bye"],
        [second, ""],
      ]),
    () => document.remove(first),
    () => document.setText(idsOf(document)[0], ""),
  ];
  for (const action of actions) {
    action();
    states.push(JSON.stringify(document.transcript()));
  }
  assert.equal(changes.length, actions.length);
  assert.equal(document.segments.length, 0);
  for (let i = states.length - 2; i >= 0; i -= 1) {
    document.undo();
    assert.equal(JSON.stringify(document.transcript()), states[i]);
  }
  assert.equal(document.canUndo, false);
  assert.equal(document.isEdited, false);
  for (const state of states.slice(1)) {
    document.redo();
    assert.equal(JSON.stringify(document.transcript()), state);
  }
  assert.equal(document.position(third), -1);
});

test("the keys of one word are undone at once", () => {
  const document = opened();
  const [first] = idsOf(document);
  document.setText(first, "Hello brave new world. A", "typing");
  document.setText(first, "Hello brave new world. Ab", "typing");
  document.setText(first, "Hello brave new world. Ab c", "typing again");
  document.undo();
  assert.equal(document.text(first), "Hello brave new world. Ab");
  document.undo();
  assert.equal(document.text(first), "Hello brave new world.");
  assert.equal(document.isEdited, false);
});

test("a new change ends what can be repeated", () => {
  const document = opened();
  const [first] = idsOf(document);
  document.setText(first, "One");
  document.undo();
  document.setText(first, "Two");
  assert.equal(document.canRedo, false);
});

test("a speaker's name reaches to the next speaker, to all of the name, or to one segment", () => {
  const document = opened();
  const [first, second, third] = idsOf(document);
  const speakers = () => document.segments.map((segment) => segment.speaker);
  document.setSpeaker(first, " Ann ");
  document.setSpeaker(second, "Ben");
  assert.deepEqual(speakers(), ["Ann", "Ben", "Ben"]);
  document.setSpeaker(third, "Ann", REACH.one);
  document.setSpeaker(first, "Anna", REACH.everywhere);
  assert.deepEqual(speakers(), ["Anna", "Ben", "Anna"]);
  assert.deepEqual(document.speakers, ["Anna", "Ben"]);
  assert.equal(document.transcript().segments[2].speaker, "Anna");
});

test("saved edits give the same document, and are small where nothing has changed", () => {
  const document = opened();
  const [first, second] = idsOf(document);
  document.setText(first, "Hello brave old world.");
  document.setSpeaker(second, "Ben", REACH.one);
  const saved = JSON.parse(JSON.stringify(document.edits()));
  assert.deepEqual(opened(saved).transcript(), document.transcript());
  assert.deepEqual(opened(saved).edits(), saved);
  assert.deepEqual([saved.segments[1].words, saved.segments[2]], [1, 2]);
});

test("edits of another transcript have no effect", () => {
  const document = opened();
  document.setText(idsOf(document)[0], "Changed");
  const other = new TranscriptDocument(transcriptOf("Another."), document.edits());
  assert.deepEqual(textsOf(other), ["Another."]);
  assert.deepEqual(textsOf(opened({ format: 99, segments: [] })), textsOf(opened()));
});

test("a transcript without times of words keeps to its segments", () => {
  const segments = TRANSCRIPT.segments.map(({ words, ...segment }) => segment);
  const document = new TranscriptDocument({ ...TRANSCRIPT, segments });
  document.split(idsOf(document)[0], 11);
  assert.equal(document.transcript().segments[0].words, undefined);
  assert.ok(document.segments[0].end > 0.5 && document.segments[0].end < 1.5);
});
