"""The Hugging Face hub: what this package fits, and the data it reads, shared with a card and loaded again.

Only `llmrec.hub.remote` knows `huggingface_hub`. What a folder holds says a table of `llmrec.hub.forms`; a card is
written from what the folder and the results beside it record.
"""
