"""The engines of these tests run with one thread, which some processors must be told before OpenVINO looks at them."""

from shoal.mini.processor import spare

spare(threads=1)
