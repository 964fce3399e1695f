"""The demo provider: answers without a key and without a network, so that the first chat works. It exists only while
no other provider does (`Catalog.build`). Its answers are written in OpenAI's shape."""
