// Vercel's AI SDK, which keeps a conversation: `node harness.mjs NAME URL`. As harness.py.
const [, , NAME, URL] = process.argv;
const { generateText, streamText } = await import("ai");
const SAY = { role: "user", content: "words=4 reasoning=5" };
const KEY = { apiKey: "sk-test" };

const MODELS = {
  async "ai-anthropic"() {
    const { createAnthropic } = await import("@ai-sdk/anthropic");
    return createAnthropic({ baseURL: `${URL}/v1`, ...KEY })("m");
  },
  async "ai-responses"() {
    const { createOpenAI } = await import("@ai-sdk/openai");
    return createOpenAI({ baseURL: `${URL}/v1`, ...KEY }).responses("m");
  },
  async "ai-chat"() {
    const { createOpenAI } = await import("@ai-sdk/openai");
    return createOpenAI({ baseURL: `${URL}/v1`, ...KEY }).chat("m");
  },
  async "ai-google"() {
    const { createGoogleGenerativeAI } = await import("@ai-sdk/google");
    return createGoogleGenerativeAI({ baseURL: `${URL}/v1beta`, ...KEY })("m");
  },
};

const model = await MODELS[NAME]();
const providerOptions = { openai: { store: false, forceReasoning: true } };
const first = streamText({ model, messages: [SAY], providerOptions });
await first.consumeStream();
const { messages } = await first.response;
await generateText({ model, messages: [SAY, ...messages, SAY], providerOptions });
