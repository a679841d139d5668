// Search, places by time, and archives.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import test from "node:test";

import { model, transcriptOf } from "./model.mjs";

const { findAll, pattern, replaceAll, replaceOne } = await model("search.js");
const { isDoubtful, neighbour, nextDoubtful, wordAt } = await model("timeline.js");
const { TranscriptDocument } = await model("document.js");
const { clock } = await model("clock.js");
const { zip } = await model("zip.js");

const found = (text, query, options) =>
  findAll([text], pattern(query, options)).map(({ start, end }) => text.slice(start, end));

test("a search is for the text as it stands, in any case, unless options say otherwise", () => {
  assert.deepEqual(found("a.b A.B axb", "a.b"), ["a.b", "A.B"]);
  assert.deepEqual(found("a.b A.B axb", "a.b", { matchesCase: true }), ["a.b"]);
  assert.deepEqual(found("a.b A.B axb", "a.b", { isRegular: true }), ["a.b", "A.B", "axb"]);
  assert.deepEqual(found("art party ärt art", "art", { isWord: true }), ["art", "art"]);
  assert.deepEqual(found("aa", "x*", { isRegular: true }), []);
  assert.equal(pattern(""), null);
  assert.throws(() => pattern("(", { isRegular: true }), SyntaxError);
});

test("a replacement is text, and has groups only in a regular expression", () => {
  const price = pattern("cost");
  assert.equal(replaceAll("cost cost", price, "$1"), "$1 $1");
  assert.equal(replaceOne("cost cost", price, 5, "$&"), "cost $&");
  const options = { isRegular: true };
  assert.equal(replaceAll("3 kg", pattern("(\\d+) kg", options), "$1 pounds", options), "3 pounds");
  assert.equal(replaceOne("a1 a2", pattern("a(\\d)", options), 3, "b$1", options), "a1 b2");
  assert.equal(replaceAll("a1 a2 b", pattern("a(\\d)(?= |$)", options), "b$1", options), "b1 b2 b");
  assert.equal(replaceAll("no xx", pattern("x*", options), "y", options), "no y"); // as they were found
});

test("the word at a time is the last that has begun, also shortly after it", () => {
  const { segments } = new TranscriptDocument(transcriptOf("One two three.", "Four."));
  assert.equal(wordAt(segments, -1), null);
  assert.deepEqual(wordAt(segments, 0), { position: 0, index: 0 });
  assert.deepEqual(wordAt(segments, 0.5), { position: 0, index: 1 });
  assert.deepEqual(wordAt(segments, 1.9), { position: 0, index: 2 });
  assert.equal(wordAt(segments, 3), null);
  assert.deepEqual(wordAt(segments, 4), { position: 1, index: 0 });
  assert.deepEqual(neighbour(segments, { position: 0, index: 2 }, 1), { position: 1, index: 0 });
  assert.deepEqual(neighbour(segments, { position: 1, index: 0 }, -1), { position: 0, index: 2 });
  assert.equal(neighbour(segments, { position: 1, index: 0 }, 1), null);
});

test("doubtful words are those of a low probability, but not marks or a person's words", () => {
  const word = (text, probability) => ({ text, probability });
  const words = [word(" Hm", 0.2), word("…", 0.1), word(" you", null), word(" are", 0.9), word(" ther", 0.49)];
  assert.deepEqual(words.map(isDoubtful), [true, false, false, false, true]);
  assert.deepEqual(nextDoubtful([{ words }], { position: 0, index: 0 }, 1), { position: 0, index: 4 });
  assert.equal(nextDoubtful([{ words }], { position: 0, index: 4 }, 1), null);
});

test("times are short and have hours only where needed", () => {
  assert.deepEqual(
    [0, 59.9, 61, 3600, 36_061].map((time) => clock(time)),
    ["0:00", "0:59", "1:01", "1:00:00", "10:01:01"],
  );
});

test("another program reads the archive", () => {
  const bytes = zip(
    [
      { name: "Gespräch.srt", bytes: new TextEncoder().encode("1\n") },
      { name: "empty", bytes: new Uint8Array() },
    ],
    new Date(2024, 1, 29, 12, 30, 40),
  );
  const program =
    "import io, sys, zipfile; z = zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())); " +
    "print(z.testzip(), [(i.filename, z.read(i), i.date_time) for i in z.infolist()])";
  const read = execFileSync("python3", ["-c", program], {
    input: bytes,
    encoding: "utf-8",
    env: { ...process.env, PYTHONIOENCODING: "utf-8" },
  });
  const date = "(2024, 2, 29, 12, 30, 40)";
  assert.equal(read.trim(), `None [('Gespräch.srt', b'1\\n', ${date}), ('empty', b'', ${date})]`);
});
