// Writes a document for Word and other word processors. The library is large, so this module is loaded when it is used.

import { Document, HeadingLevel, Packer, Paragraph, TextRun } from "../../vendor/docx.js";

const AFTER_PARAGRAPH = 160; // twentieths of a point
const RIGHT_TO_LEFT = /^\P{L}*[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}]/u;

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
            paragraph(title, [], { heading: HeadingLevel.HEADING_1 }),
            ...paragraphs.map((each) => paragraph(each, speakers, { spacing: { after: AFTER_PARAGRAPH } })),
          ],
        },
      ],
    }),
  );
}

/** Word processors do not find the direction of a paragraph by themselves: it is that of its first letter. */
function paragraph(text, speakers, style) {
  const rightToLeft = RIGHT_TO_LEFT.test(text) || undefined;
  const name = speakers.find((speaker) => text.startsWith(`${speaker}:`));
  const parts = name ? [{ text: `${name}:`, bold: true }, { text: text.slice(name.length + 1) }] : [{ text }];
  const children = parts.map((part) => new TextRun({ ...part, rightToLeft }));
  return new Paragraph({ ...style, children, bidirectional: rightToLeft });
}
