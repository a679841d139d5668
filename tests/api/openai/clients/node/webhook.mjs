// OpenAI's SDK for Node: checks the signature of a webhook, and prints the event's type. Input: {secret, headers, body}.
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const { secret, headers, body } = JSON.parse(readFileSync(0, "utf8"));
const event = await new OpenAI({ apiKey: "any", webhookSecret: secret }).webhooks.unwrap(body, headers);
console.log(event.type);
