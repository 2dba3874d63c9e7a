"""Audio files: SPHERE, what libsndfile reads, pipes, and where corpora keep them."""
