// Vercel's AI SDK, releases 4 to 7: the transcription models of @ai-sdk/openai, with the options that it adds by itself.
import { readFileSync } from "node:fs";

const [url, audio, release] = process.argv.slice(2);
const { createOpenAI } = await import(`ai${release}-openai`);
const ai = await import(`ai${release}`);
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "any" });
const transcribe = ai.transcribe ?? ai.experimental_transcribe;
for (const [model, options] of [
  ["whisper-1", {}],
  ["gpt-4o-transcribe", {}],
  ["whisper-1", { language: "en", timestampGranularities: ["word"], temperature: 0 }],
]) {
  const result = await transcribe({
    model: openai.transcription(model), audio: readFileSync(audio), providerOptions: { openai: options }, maxRetries: 0,
  });
  console.log(result.text);
}
