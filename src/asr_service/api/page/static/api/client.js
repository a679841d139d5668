// Sends requests to the service and reads its errors.

import { BASE } from "../core/config.js";
import { apiKey } from "./key.js";
import { Problem } from "./problem.js";

/** Return the response. Throws Problem; an aborted request throws the signal's reason. */
export async function request(path, { method = "GET", headers = {}, body, signal } = {}) {
  let response;
  try {
    response = await fetch(new URL(path, BASE), {
      method,
      headers: { ...apiKey.headers(), ...headers },
      body,
      signal,
      cache: "no-store",
      credentials: "same-origin",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw Problem.lost();
  }
  if (!response.ok) throw Problem.read(response.status, await response.text(), response.headers.get("Retry-After"));
  return response;
}

/** Return the body of a JSON answer. */
export async function requestJson(path, options) {
  const response = await request(path, options);
  try {
    return await response.json();
  } catch (error) {
    if (options?.signal?.aborted) throw error;
    throw Problem.lost();
  }
}

/**
 * Send a form. `onSent` gets the share of it that was sent, `onText` all text of the answer that has arrived so far:
 * fetch knows neither while a large file is under way. Resolves to the text. Throws Problem, or the signal's reason.
 */
export function sendForm(path, form, { headers = {}, signal, onSent = () => {}, onText = () => {} } = {}) {
  return new Promise((resolve, reject) => {
    const sender = new XMLHttpRequest();
    const isGood = () => sender.status >= 200 && sender.status < 300;
    const abort = () => sender.abort();
    signal?.throwIfAborted();
    signal?.addEventListener("abort", abort, { once: true });
    sender.open("POST", new URL(path, BASE));
    for (const [name, value] of Object.entries({ ...apiKey.headers(), ...headers })) sender.setRequestHeader(name, value);
    sender.upload.onprogress = ({ loaded, total }) => total && onSent(loaded / total);
    sender.onprogress = () => isGood() && onText(sender.responseText);
    sender.onerror = () => reject(Problem.lost());
    sender.onabort = () => reject(signal?.reason ?? Problem.lost());
    sender.onload = () => {
      if (isGood()) resolve(sender.responseText);
      else reject(Problem.read(sender.status, sender.responseText, sender.getResponseHeader("Retry-After")));
    };
    sender.onloadend = () => signal?.removeEventListener("abort", abort);
    sender.send(form);
  });
}
