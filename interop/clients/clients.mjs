// Official Node clients and frameworks, as their users write them: `node clients.mjs NAME URL`. As clients.py.
const [, , NAME, URL] = process.argv;
const SAY = "Hello words=7";
const USER = [{ role: "user", content: SAY }];
const TOOL_USER = [{ role: "user", content: "use the tool words=3" }];
const PARAMETERS = { type: "object", properties: { city: { type: "string" } } };
const words = (text) => text.trim().split(/\s+/).length;

async function take(name, step) {
  const began = performance.now();
  let result;
  try {
    result = { value: await step(`sk-${NAME}-${name}`) };
  } catch (error) {
    const cause = error.lastError ?? error;
    result = { error: error.constructor.name, status: cause.status ?? cause.statusCode ?? null,
      text: String(error.message).slice(0, 300) };
  }
  result.seconds = Math.round((performance.now() - began) / 10) / 100;
  console.log(JSON.stringify({ step: name, ...result }));
}

async function refusals(ask) {
  await take("soon", async (key) => {
    for (let times = 0; times < 3; times++) await ask(key); // two at once, then one in 8 s
    return 3;
  });
  await take("never", async (key) => {
    await ask(key);
    await ask(key);
  });
}

async function collect(stream, text) {
  let all = "";
  for await (const part of stream) all += text(part) ?? "";
  return words(all);
}

const CLIENTS = {
  async "openai-node"() {
    const { default: OpenAI } = await import("openai");
    const client = (key) => new OpenAI({ baseURL: `${URL}/v1`, apiKey: key });
    const chat = async (key) =>
      words((await client(key).chat.completions.create({ model: "m", messages: USER })).choices[0].message.content);
    await take("chat", chat);
    await take("stream", async (key) =>
      collect(await client(key).chat.completions.create({ model: "m", messages: USER, stream: true }),
        (part) => part.choices[0].delta.content));
    await take("tools", async (key) => {
      const tools = [{ type: "function", function: { name: "look", description: "Looks.", parameters: PARAMETERS } }];
      const answer = await client(key).chat.completions.create({ model: "m", messages: TOOL_USER, tools });
      return answer.choices[0].message.tool_calls[0].function.name;
    });
    await take("responses", async (key) =>
      words((await client(key).responses.create({ model: "m", input: SAY })).output_text));
    await take("embeddings", async (key) =>
      (await client(key).embeddings.create({ model: "m", input: ["a", "b"], encoding_format: "float" })).data.length);
    await take("models", async (key) => (await client(key).models.list()).data.map((model) => model.id));
    await refusals(chat);
  },

  async "anthropic-node"() {
    const { default: Anthropic } = await import("@anthropic-ai/sdk");
    const client = (key) => new Anthropic({ baseURL: URL, apiKey: key });
    const ask = (key, more) =>
      client(key).messages.create({ model: "m", max_tokens: 99, messages: USER, ...more });
    await take("chat", async (key) => words((await ask(key)).content[0].text));
    await take("stream", async (key) =>
      collect(await ask(key, { stream: true }), (event) => event.delta?.text));
    await take("tools", async (key) => {
      const tools = [{ name: "look", description: "Looks.", input_schema: PARAMETERS }];
      return (await ask(key, { messages: TOOL_USER, tools })).content[0].name;
    });
    await refusals(ask);
  },

  async "google-genai-node"() {
    const { GoogleGenAI } = await import("@google/genai");
    const client = (key, more) => new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: URL, ...more } });
    const ask = (key, more) => client(key, more).models.generateContent({ model: "m", contents: SAY });
    await take("chat", async (key) => words((await ask(key)).text));
    await take("stream", async (key) =>
      collect(await client(key).models.generateContentStream({ model: "m", contents: SAY }), (part) => part.text));
    await take("tools", async (key) => {
      const look = { name: "look", description: "Looks.", parametersJsonSchema: PARAMETERS };
      const config = { tools: [{ functionDeclarations: [look] }] };
      const answer = await client(key).models.generateContent({ model: "m", contents: "use the tool words=3", config });
      return answer.functionCalls[0].name;
    });
    await refusals(ask);
    await take("soon-asked", async (key) => {
      for (let times = 0; times < 3; times++) await ask(key, { retryOptions: { attempts: 6 } });
      return 3;
    });
  },

  async "ai-openai-node"() {
    const { createOpenAI } = await import("@ai-sdk/openai");
    await ai((key) => createOpenAI({ baseURL: `${URL}/v1`, apiKey: key }).chat("m"));
  },

  async "ai-responses-node"() {
    const { createOpenAI } = await import("@ai-sdk/openai");
    await ai((key) => createOpenAI({ baseURL: `${URL}/v1`, apiKey: key })("m"));
  },

  async "ai-anthropic-node"() {
    const { createAnthropic } = await import("@ai-sdk/anthropic");
    await ai((key) => createAnthropic({ baseURL: `${URL}/v1`, apiKey: key })("m"));
  },

  async "ai-google-node"() {
    const { createGoogleGenerativeAI } = await import("@ai-sdk/google");
    await ai((key) => createGoogleGenerativeAI({ baseURL: `${URL}/v1beta`, apiKey: key })("m"));
  },

  async "langchain-openai-node"() {
    const { ChatOpenAI } = await import("@langchain/openai");
    await langchain((key) => new ChatOpenAI({ model: "m", apiKey: key, configuration: { baseURL: `${URL}/v1` } }));
  },

  async "langchain-anthropic-node"() {
    const { ChatAnthropic } = await import("@langchain/anthropic");
    await langchain((key) => new ChatAnthropic({ model: "m", apiKey: key, anthropicApiUrl: URL, maxTokens: 99 }));
  },
};

async function ai(model) {
  const { generateText, jsonSchema, streamText, tool } = await import("ai");
  const ask = (key) => generateText({ model: model(key), prompt: SAY });
  await take("chat", async (key) => words((await ask(key)).text));
  await take("stream", async (key) => collect(streamText({ model: model(key), prompt: SAY }).textStream, (part) => part));
  await take("tools", async (key) => {
    const tools = { look: tool({ description: "Looks.", inputSchema: jsonSchema(PARAMETERS) }) };
    return (await generateText({ model: model(key), prompt: "use the tool words=3", tools })).toolCalls[0].toolName;
  });
  await refusals(ask);
}

async function langchain(make) {
  await take("chat", async (key) => words((await make(key).invoke(SAY)).text));
  await take("stream", async (key) => collect(await make(key).stream(SAY), (part) => part.text));
  await take("tools", async (key) => {
    const look = { name: "look", description: "Looks.", schema: PARAMETERS };
    return (await make(key).bindTools([look]).invoke("use the tool words=3")).tool_calls[0].name;
  });
  await refusals((key) => make(key).invoke(SAY));
}

await CLIENTS[NAME]();
