// Writes a document for Word and other word processors. The library is large, so this module is loaded when it is used.

import { Document, HeadingLevel, Packer, Paragraph, TextRun } from "../../vendor/docx.js";

const AFTER_PARAGRAPH = 160; // twentieths of a point

/**
 * Return a document as a Blob. `text` has an empty line between paragraphs. A paragraph that begins with one of the
 * `speakers` and a colon has the name in bold.
 */
export function writeDocx({ title, text, speakers }) {
  const paragraphs = text
    .split(/\n\n+/u)
    .map((each) => each.trim())
    .filter(Boolean);
  return Packer.toBlob(
    new Document({
      title,
      creator: "",
      lastModifiedBy: "",
      description: "",
      sections: [
        {
          children: [
            new Paragraph({ text: title, heading: HeadingLevel.HEADING_1 }),
            ...paragraphs.map(
              (each) => new Paragraph({ children: runs(each, speakers), spacing: { after: AFTER_PARAGRAPH } }),
            ),
          ],
        },
      ],
    }),
  );
}

function runs(paragraph, speakers) {
  const name = speakers.find((speaker) => paragraph.startsWith(`${speaker}:`));
  if (!name) return [new TextRun(paragraph)];
  return [new TextRun({ text: `${name}:`, bold: true }), new TextRun(paragraph.slice(name.length + 1))];
}
