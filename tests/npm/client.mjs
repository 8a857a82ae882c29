// Does everything that tests/test_npm_sdk.py checks with the official SDK, and prints what came
// back as one JSON object, scenario by scenario.
//
// node client.mjs <base URL> <a WAV file of two seconds>

import fs from "node:fs";
import OpenAI from "openai";

const [baseURL, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "any", maxRetries: 0 });
const input = "Many voices are sounding as one today, friends.";
const file = () => fs.createReadStream(path);

async function spoken(format) {
  const response = await client.audio.speech.create({
    model: "tts-1", voice: "alloy", input, response_format: format,
  });
  return {
    type: response.headers.get("content-type"),
    audio: Buffer.from(await response.arrayBuffer()).toString("base64"),
  };
}

async function spokenAsEvents() {
  const response = await client.audio.speech.create({
    model: "tts-1", voice: "ash", input, response_format: "pcm", stream_format: "sse",
  });
  const lines = (await response.text()).split("\n").filter((line) => line.startsWith("data: "));
  return lines.map((line) => JSON.parse(line.slice(6)));
}

async function spokenInParts() {
  const response = await client.audio.speech.create({
    model: "tts-1", voice: "alloy", input, response_format: "pcm",
  });
  let bytes = 0;
  for await (const part of response.body) bytes += part.length;
  return bytes;
}

function written(options) {
  return client.audio.transcriptions.create({ model: "whisper-1", file: file(), ...options });
}

async function writtenAsEvents() {
  const events = [];
  for await (const event of await written({ stream: true })) events.push(event);
  return events;
}

async function failed(action) {
  try {
    await action();
  } catch (error) {
    const { status, type, code, param, message, requestID } = error;
    return { class: error.constructor.name, status, type, code, param, message, requestID };
  }
  return null;
}

const speech = (options) =>
  failed(() => client.audio.speech.create({ model: "tts-1", voice: "alloy", input, ...options }));

const scenarios = {};
for (const format of ["mp3", "opus", "aac", "flac", "wav", "pcm"]) {
  scenarios[`speech ${format}`] = () => spoken(format);
}
for (const format of ["json", "text", "srt", "vtt", "verbose_json"]) {
  scenarios[`transcript ${format}`] = () => written({ response_format: format });
}
Object.assign(scenarios, {
  "speech sse": spokenAsEvents,
  "speech in parts": spokenInParts,
  "transcript diarized_json": () =>
    written({ model: "speakers", response_format: "diarized_json", chunking_strategy: "auto" }),
  "transcript words": () =>
    written({ response_format: "verbose_json", timestamp_granularities: ["word"] }),
  "transcript of a buffer": async () =>
    written({ file: await OpenAI.toFile(fs.readFileSync(path), "speech.wav") }),
  "transcript with server_vad": () =>
    written({ chunking_strategy: { type: "server_vad", threshold: 0.6 } }),
  "transcript sse": writtenAsEvents,
  "transcript sse failing": () => failed(async () => {
    const stream = await written({ stream: true, fail_after: 1 });
    for await (const _ of stream);
  }),
  models: async () => (await client.models.list()).data.map((model) => model.id),
  "model with a slash": async () => (await client.models.retrieve("acme/narrator")).id,
  "wrong speed": () => speech({ speed: 9 }),
  "unknown model": () => speech({ model: "nothing" }),
  "unknown voice": () => speech({ voice: "nobody" }),
  "broken engine": () => speech({ fail_after: 0 }),
  "no audio": () => failed(() => written({ file: fs.createReadStream(process.argv[1]) })),
});

const results = {};
for (const [name, scenario] of Object.entries(scenarios)) {
  try {
    results[name] = await scenario();
  } catch (error) {
    results[name] = { unexpected: String(error) };
  }
}
console.log(JSON.stringify(results));
