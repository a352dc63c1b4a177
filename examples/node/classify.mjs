// node classify.mjs ../../exported/reviews "I loved every minute of it."
import { env, pipeline } from "@huggingface/transformers";

const [folder, text] = process.argv.slice(2);
env.localModelPath = "";                // a name is the path of a folder,
env.allowRemoteModels = false;          // and nothing is fetched

const classify = await pipeline("text-classification", folder, { dtype: "fp32" });
for (const { score, label } of await classify(text, { top_k: null })) {
  console.log(score.toFixed(6), label);
}
