"""temporary"""
from shoal.core.http import HttpCall
from shoal.wire.openai_chat import errors, forward
class _U:
    fault=staticmethod(errors.read)
class _F:
    def encode(self, request, deployment): return HttpCall("/chat/completions", forward.encode(request, deployment.upstream_model))
    complete=staticmethod(forward.complete)
    def stream(self, request, settle): return forward.Stream(request.wants_usage, settle)
class _C:
    def error(self, fault, receipt):
        import msgspec
        return b'{"error":%b,"shoal":%b}' % (msgspec.json.encode(fault.error()), receipt)
    def error_event(self, fault, receipt): return b"data: %b\n\n"%self.error(fault,receipt)
UPSTREAM, CALLER, FORWARD = _U(), _C(), _F()
