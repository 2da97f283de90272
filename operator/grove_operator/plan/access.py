"""What pods may see: a ServiceAccount that can watch the pods of its namespace, for the init container.

The Secret with its token is made only where an init container reads it: every one costs a write of ours and
one of the token controller before the first pod can start.
"""

from collections.abc import Iterator

from grove_operator import naming
from grove_operator.api import ROLE_BINDINGS, ROLES, SECRETS, SERVICE_ACCOUNTS, SETS, PodCliqueSet
from grove_operator.naming import Component, L
from grove_operator.plan.documents import Wanted, document

__all__ = ["access"]


def access(owner: PodCliqueSet, *, token: bool) -> Iterator[Wanted]:
    """ServiceAccount, Role, RoleBinding; the Secret with a *token*."""
    name = owner.metadata.name
    role = naming.role(name)
    ours = (SETS, owner.metadata)
    label = {L.NAME: role.replace(":", "-")}  # a label's value takes no colon
    yield document(
        SERVICE_ACCOUNTS,
        name,
        ours,
        Component.SERVICE_ACCOUNT,
        set_name=name,
        labels={L.NAME: name},
        automountServiceAccountToken=True,
    )
    yield document(
        ROLES,
        role,
        ours,
        Component.ROLE,
        set_name=name,
        labels=label,
        rules=[{"apiGroups": [""], "resources": ["pods", "pods/status"], "verbs": ["get", "list", "watch"]}],
    )
    yield document(
        ROLE_BINDINGS,
        role,
        ours,
        Component.ROLE_BINDING,
        set_name=name,
        labels=label,
        roleRef={"apiGroup": ROLES.group, "kind": ROLES.kind, "name": role},
        subjects=[{"kind": SERVICE_ACCOUNTS.kind, "name": name, "namespace": owner.metadata.namespace}],
    )
    if token:
        yield document(
            SECRETS,
            naming.token_secret(name),
            ours,
            Component.TOKEN_SECRET,
            set_name=name,
            labels={L.NAME: naming.token_secret(name)},
            annotations={"kubernetes.io/service-account.name": name},
            type="kubernetes.io/service-account-token",
        )
