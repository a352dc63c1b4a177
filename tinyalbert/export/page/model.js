// A text in, probabilities and attentions out. Knows nothing of the page.

const AGAIN = "write the site again with “tinyalbert export web”.";

// A WebAssembly module of one function with two SIMD instructions (i8x16.splat, i8x16.popcnt).
const SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0,
                             10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]);

export async function loadModel(site) {
  if (typeof WebAssembly !== "object")
    throw new Error("This browser has no WebAssembly, which the model runs on: use a current Firefox, Chrome, Edge or Safari.");
  if (!WebAssembly.validate(SIMD))
    throw new Error("This browser's WebAssembly has no SIMD, which the model needs: use a current Firefox, Chrome, Edge or Safari.");
  const [ort, { Tokenizer }, wasm, weights, tokenizer, config] = await Promise.all([
    script("./runtime/ort.wasm.bundle.min.mjs"),
    script("./runtime/tokenizers.min.mjs"),
    file("runtime/ort-wasm-simd-threaded.wasm").then(answer => answer.arrayBuffer()),
    file(site.weights).then(answer => answer.arrayBuffer()),
    json("model/tokenizer.json"),
    json("model/tokenizer_config.json"),
  ]);
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = 1;      // more need headers that few web servers send
  const session = await ort.InferenceSession.create(new Uint8Array(weights)).catch(error => {
    throw new Error(`The file ${site.weights} cannot be used (${error.message}): ${AGAIN}`);
  });
  return { site, ort, session, tokenizer: new Tokenizer(tokenizer, config), wordpiece: tokenizer.model.type === "WordPiece" };
}

export async function json(path) {
  const answer = await file(path);
  return answer.json().catch(() => { throw new Error(`The file ${path} is damaged: ${AGAIN}`); });
}

async function file(path) {
  const answer = await fetch(path, { cache: "no-cache" }).catch(() => ({ status: "no answer" }));
  if (!answer.ok) throw new Error(`The file ${path} cannot be had from the server (${answer.status}): ${AGAIN}`);
  return answer;
}

function script(path) {
  return import(path).catch(() => { throw new Error(`The file ${path.slice(2)} cannot be loaded: ${AGAIN}`); });
}

// tokens [T]; blanks: their places; logits, flat [T, V] or [K]; attentions: for each application heads of flat [T, T].
export async function run({ site, ort, session, tokenizer }, text) {
  const { ids, tokens } = tokenizer.encode(text);
  const count = ids.length;
  if (count > site.positions)
    throw new Error(`The text has ${count} tokens, and the model has ${site.positions} positions: shorten it.`);
  const tensor = values => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, count]);
  const feeds = { input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1)), token_type_ids: tensor(ids.map(() => 0)) };
  const outputs = await session.run(feeds);
  const attentions = session.outputNames.filter(name => name.startsWith("attentions.")).map(name => {
    const { data, dims: [, heads] } = outputs[name];                // [1, N, T, T]
    return Array.from({ length: heads }, (_, head) => data.subarray(head * count ** 2, (head + 1) * count ** 2));
  });
  const mask = tokenizer.token_to_id("[MASK]"), blanks = [...ids.keys()].filter(place => ids[place] === mask);
  return { tokens, blanks, logits: outputs.logits.data, attentions };
}

// For every blank its `count` likeliest pieces, likeliest first: { token, probability }.
export function candidates({ tokenizer }, { tokens, blanks, logits }, count = 10) {
  return blanks.map(place => {
    const size = logits.length / tokens.length;                     // V
    const probabilities = softmax(logits.subarray(place * size, (place + 1) * size));
    const best = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]).slice(0, count);
    return best.map(id => ({ token: tokenizer.id_to_token(id), probability: probabilities[id] }));
  });
}

// Every label with its probability, likeliest first.
export function labels({ site }, { logits }) {
  const probabilities = site.function === "softmax" ? softmax(logits) : Float64Array.from(logits, x => 1 / (1 + Math.exp(-x)));
  return site.labels.map((token, i) => ({ token, probability: probabilities[i] }))
    .sort((a, b) => b.probability - a.probability);
}

function softmax(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const exponentials = Float64Array.from(logits, x => Math.exp(x - largest));
  const sum = exponentials.reduce((a, b) => a + b);
  return exponentials.map(x => x / sum);
}

// Does a piece go on where the one before it ended? WordPiece marks those that do, SentencePiece those that do not.
export function joins({ wordpiece }, token) {
  return wordpiece ? token.startsWith("##") : !token.startsWith("▁");
}

export function withoutMark(token) {
  return token.replace(/^(##|▁)/, "");
}

// ▁states -> states; ment and ##ment, inside a word -> …ment.
export function readable(model, token) {
  const text = withoutMark(token);
  return joins(model, token) && /^\p{L}/u.test(text) ? "…" + text : text || token;
}
