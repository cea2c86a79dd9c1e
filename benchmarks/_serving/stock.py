"""`bentoml serve benchmarks._serving.stock:Stock`"""

from benchmarks._serving.peers import bento

Stock = bento()
