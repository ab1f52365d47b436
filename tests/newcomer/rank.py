"""Fit a ranker on a data frame, rank for sessions it has not seen, score the lists, keep the ranker."""

import pandas as pd

import llmrec

walks = [["tea", "cup", "spoon"], ["tea", "cup", "pot"], ["mouse", "pad", "desk"], ["mouse", "pad", "lamp"]] * 5
shop = pd.DataFrame({"prev_items": [walk[:2] for walk in walks], "next_item": [walk[2] for walk in walks]})
ranker = llmrec.fit("covisit", shop, locale="UK")
lists = ranker.rank([["cup"], ["pad"]], k=3, locale="UK")
print(lists.to_pandas())
print(llmrec.evaluate(lists, ["pot", "desk"]).to_pandas())
ranker.save("ranker")
