"""Search a catalogue for products like a title, in any locale, then open the index again."""

import pandas as pd

import llmrec

titles = ["USB-C cable 2 m", "USB-C-Kabel 2 m, geflochten", "Wireless mouse", "Kabellose Maus", "Desk lamp, LED"]
shop = pd.DataFrame({"id": ["B1", "B2", "B3", "B4", "B5"], "locale": ["UK", "DE", "UK", "DE", "UK"], "title": titles})
products = llmrec.SimilarProducts.build(shop, "titles")
for hit in products.search(["usb cable"], k=3)[0]:
    print(hit.rank, hit.locale, hit.id, hit.title, hit.score)
print(llmrec.SimilarProducts.load("titles").by_product(["B3"], k=1, locale="DE"))
