// node fill_mask.mjs ../../exported/sotu "We the [MASK] of the United States."
import { env, pipeline } from "@huggingface/transformers";

const [folder, text] = process.argv.slice(2);
env.localModelPath = "";                // a name is the path of a folder,
env.allowRemoteModels = false;          // and nothing is fetched

const fillMask = await pipeline("fill-mask", folder, { dtype: "fp32" });
for (const { score, token_str } of await fillMask(text)) {
  console.log(score.toFixed(6), token_str);
}
