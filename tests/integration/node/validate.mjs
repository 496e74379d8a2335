// Validates documents with their own community's tools: `node validate.mjs openapi|asyncapi FILE…`.
// Prints one JSON line for each file: { file, problems: ["where: what", …] }.
import { readFileSync } from "node:fs";

async function openapi() {
  const { BaseResolver, createConfig, lintDocument, makeDocumentFromString } = await import("@redocly/openapi-core");
  const config = await createConfig({ extends: ["spec"] });
  return async (file, text) => {
    const document = makeDocumentFromString(text, file);
    const problems = await lintDocument({ document, config, externalRefResolver: new BaseResolver() });
    return problems.map((one) => `${one.location[0]?.pointer}: ${one.ruleId}: ${one.message}`);
  };
}

async function asyncapi() {
  const { Parser } = await import("@asyncapi/parser");
  return async (file, text) => {
    const { document, diagnostics } = await new Parser().parse(text);
    const told = diagnostics.filter((one) => one.code !== "asyncapi-latest-version");
    if (document === undefined && told.length === 0) return ["not a document"];
    return told.map((one) => `${one.path.join("/")}: ${one.code}: ${one.message}`);
  };
}

const [, , kind, ...files] = process.argv;
const validate = await { openapi, asyncapi }[kind]();
for (const file of files) {
  console.log(JSON.stringify({ file, problems: await validate(file, readFileSync(file, "utf8")) }));
}
