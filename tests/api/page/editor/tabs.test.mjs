// The document of the editor in two tabs: each takes over the edits of the other.

import assert from "node:assert/strict";
import test from "node:test";

import { model, transcriptOf } from "./model.mjs";

const { TranscriptDocument } = await model("document.js");

const TRANSCRIPT = transcriptOf("One.", "Two.", "Three.", "Four.");
const textsOf = (document) => document.segments.map(({ id }) => document.text(id));
const edit = (document, position, text) => document.setText(document.segments[position].id, text);
const tabs = (saved = null) => [new TranscriptDocument(TRANSCRIPT, saved), new TranscriptDocument(TRANSCRIPT, saved)];

test("the edits of another tab are taken over, whether segments are changed, split, joined or removed", () => {
  const [one, other] = tabs();
  edit(one, 1, "Two and a half.");
  one.split(one.segments[1].id, 4);
  one.merge(one.segments[2].id);
  one.remove(one.segments[0].id);
  assert.equal(other.adopt(one.edits(), null), true);
  assert.deepEqual(textsOf(other), ["Two", "and a half. Three.", "Four."]);
  assert.deepEqual(other.edits(), one.edits());
  assert.equal(other.adopt(one.edits(), one.edits()), false);
});

test("edits of different segments are all kept", () => {
  const [one, other] = tabs();
  one.remove(one.segments[0].id);
  edit(other, 3, "Four!");
  other.adopt(one.edits(), null);
  assert.deepEqual(textsOf(other), ["Two.", "Three.", "Four!"]);

  const [third, fourth] = tabs(other.edits());
  third.merge(third.segments[1].id);
  edit(fourth, 0, "Two?");
  fourth.adopt(third.edits(), other.edits());
  assert.deepEqual(textsOf(fourth), ["Two?", "Three. Four!"]);
});

test("where both tabs have changed a segment, the own text stays and undo shows the other", () => {
  const [one, other] = tabs();
  edit(one, 1, "Two here.");
  edit(other, 1, "Two there.");
  edit(other, 2, "Three there.");
  other.adopt(one.edits(), null);
  assert.deepEqual(textsOf(other), ["One.", "Two there.", "Three there.", "Four."]);
  other.undo();
  assert.deepEqual(textsOf(other), ["One.", "Two here.", "Three.", "Four."]);
});

test("what another tab types in one place is undone at once, and the segment keeps its id", () => {
  const [one, other] = tabs();
  const { id } = other.segments[1];
  let base = null;
  for (const text of ["Two a.", "Two an.", "Two and."]) {
    edit(one, 1, text);
    other.adopt(one.edits(), base);
    base = one.edits();
  }
  assert.equal(other.text(id), "Two and.");
  other.undo();
  assert.deepEqual(textsOf(other), ["One.", "Two.", "Three.", "Four."]);
  assert.equal(other.canUndo, false);
});

test("edits of another transcript have no effect", () => {
  const document = new TranscriptDocument(TRANSCRIPT);
  const another = new TranscriptDocument(transcriptOf("Else."));
  edit(another, 0, "Anything.");
  assert.equal(document.adopt(another.edits(), null), false);
});
