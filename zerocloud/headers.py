"""Every header name that ZeroCloud reads or writes.

The `X-Nexe-*` and `X-Zerovm-*` names are the ancestor's and part of the
interface; `X-Zerocloud-*` travel between the proxy and the storage nodes
(docs/protocol.md) and never reach a client.
"""

# Asked by clients.
EXECUTE = "X-Zerovm-Execute"
SOURCE = "X-Zerovm-Source"

# Answered to clients.
JOB_STATUS = "X-Zerovm-Job-Status"
JOB_ID = "X-Zerovm-Job-Id"
REPORT = "X-Zerovm-Report"
NEXE_SYSTEM = "X-Nexe-System"
NEXE_STATUS = "X-Nexe-Status"
NEXE_RETCODE = "X-Nexe-Retcode"
NEXE_ETAG = "X-Nexe-Etag"
NEXE_VALIDATION = "X-Nexe-Validation"
NEXE_CDR = "X-Nexe-Cdr-Line"
NEXE_POLICY = "X-Nexe-Policy"
NEXE_COLOCATED = "X-Nexe-Colocated"
NEXE_ERROR = "X-Nexe-Error"

# Between the proxy filter and the executor filter.
TASK_VERB = "EXECUTE"
TASK_VERSION = "X-Zerocloud-Version"
TASK_ID = "X-Zerocloud-Task"
TASK_DIGEST = "X-Zerocloud-Digest"
TASK_EXPIRES = "X-Zerocloud-Expires"
TASK_PIN = "X-Zerocloud-Pin"
TASK_SIGNATURE = "X-Zerocloud-Signature"
# The job that zerocloud-check names in its probes, which have expired.
PROBE_JOB = "zerocloud-check"

# Swift's own.
POLICY_INDEX = "X-Backend-Storage-Policy-Index"
DATA_TIMESTAMP = "X-Backend-Data-Timestamp"

# Media types.
JSON_TYPE = "application/json"
REPORT_TYPE = "application/vnd.zerocloud.report+json"
