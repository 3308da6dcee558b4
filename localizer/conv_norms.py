"""Which batch norm takes the output of which convolution, read from a model's graph."""

from collections import Counter

import torch.fx as fx
from torch import nn


def norms_behind(model: nn.Module) -> tuple[dict[str, str], dict[str, str]]:
    """The batch norm that takes a convolution's output, and why other convolutions have none.

    Both by the name of the convolution; read from the graph of the model in evaluation mode.

    Raises:
        ValueError: the graph cannot be made.
    """
    layers = dict(model.named_modules())
    norms: dict[str, str] = {}
    others: dict[str, str] = {}
    convolutions = [name for name, layer in layers.items() if isinstance(layer, nn.Conv2d)]
    if not convolutions:
        return norms, others
    graph = _graph_of(model)
    nodes = {str(node.target): node for node in graph.nodes if node.op == "call_module"}
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    shared = _with_shared_tensors(layers)
    shared |= {str(node.target).rpartition(".")[0] for node in graph.find_nodes(op="get_attr")}
    for name in convolutions:
        users = list(nodes[name].users) if name in nodes else []
        norm = str(users[0].target) if users else ""
        if calls[name] != 1:
            others[name] = f"is called {calls[name]} times instead of once"
        elif len(users) != 1:
            others[name] = f"its output goes to {len(users)} places instead of one batch norm"
        elif users[0].op != "call_module" or type(layers[norm]) is not nn.BatchNorm2d:
            others[name] = f"its output goes to {users[0].name}, which is no nn.BatchNorm2d"
        elif calls[norm] != 1:
            others[name] = f"its batch norm {norm} is called {calls[norm]} times instead of once"
        elif norm in shared:
            others[name] = f"numbers of its batch norm {norm} are used elsewhere, too"
        else:
            norms[name] = norm
    return norms, others


class _Tracer(fx.Tracer):
    """Follows a model down to convolutions and batch norms of every kind."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = isinstance(m, (nn.Conv2d, nn.BatchNorm2d))
        return own or super().is_leaf_module(m, module_qualified_name)


def _graph_of(model: nn.Module) -> fx.Graph:
    modes = {layer: layer.training for layer in model.modules()}
    try:
        graph = _Tracer().trace(model.eval())
    except Exception as error:  # of any kind: the model's own code meets a stand-in for a tensor
        raise ValueError(
            f"torch.fx cannot follow this model, give the part with the convolutions ({error})"
        ) from error
    for layer, mode in modes.items():
        layer.training = mode
    return graph


def _with_shared_tensors(layers: dict[str, nn.Module]) -> set[str]:
    """Names of the layers with a parameter or buffer that another layer has, too."""
    own = {
        name: {
            id(each) for each in (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
        }
        for name, layer in layers.items()
    }
    owners = Counter(each for of_layer in own.values() for each in of_layer)
    return {name for name, of_layer in own.items() if any(owners[each] > 1 for each in of_layer)}
