"""What a video is: a file goes in, an embedding, a thumbnail and labels come out.

The floor above `data`: it reads the catalogue's queue and writes the embedding table. It knows files, frames,
encoders and labels. It does not know viewers, indexes, recommendations or HTTP: the recommender meets it in the
embedding table and nowhere else.
"""
