// Express 4 as people set it up: JSON and form bodies, query strings, methods overridden by a header.
import express from "express";
import methodOverride from "method-override";

const app = express();
let seen = [];

app.get("/-/seen", (request, response) => {
  response.json(seen);
  seen = [];
});
app.use(methodOverride("X-HTTP-Method-Override"));
app.use(methodOverride("X-Method-Override"));
app.use(methodOverride("X-HTTP-Method"));
app.use(methodOverride("_method"));
app.use(express.json({ limit: "20mb" }));
app.use(express.urlencoded({ extended: true, limit: "20mb" }));

function answer(request, response) {
  const headers = [];
  for (let at = 0; at < request.rawHeaders.length; at += 2) headers.push(request.rawHeaders.slice(at, at + 2));
  seen.push({
    method: request.method,
    path: request.route?.path === "*" ? decoded(request.path) : request.route.path,
    query: request.query,
    body: request.body,
    headers,
  });
  response.set("x-read-by", "express");
  response.json({
    model: "m", choices: [], usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
  });
}

function decoded(path) {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

app.all("/v1/chat/completions", answer); // the router ignores case and a slash at the end
app.all("*", answer);
app.use((error, request, response, next) => response.status(error.status ?? 500).json({ error: error.message }));
app.listen(Number(process.argv[2]), "127.0.0.1");
