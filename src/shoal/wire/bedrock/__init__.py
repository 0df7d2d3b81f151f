"""Amazon Bedrock's Converse, an upstream's dialect.

requests.py what is asked, with its parts in parts.py, its media in media.py and its names in names.py; families.py what differs from
one maker's models to another's; answers.py whole answers, streams.py streamed ones in the binary frames of frames.py; errors.py what went
wrong; embeddings.py vectors by InvokeModel; dialect.py the whole.
"""
