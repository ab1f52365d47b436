"""Write the next product's title with a saved model: a folder of `llmrec generate`, an adapter, or a hub name."""

import llmrec

writer = llmrec.TitleWriter.load("model")
titles = writer.write([["USB-C cable 2 m", "USB-C charger 65 W"], ["Kettle 1.7 l"]], locale="UK")
print(titles.to_pandas())
titles.save("titles.parquet")
for piece in writer.stream(["USB-C cable 2 m"], locale="UK"):
    print(piece, end="", flush=True)
