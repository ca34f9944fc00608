"""Texts and a checkpoint's tokenizer -> ragged token ids and types."""
