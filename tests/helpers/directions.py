"""Random directions, and the slow forward that adds their shifts by hand."""

import torch

import workbench as wb

IDS = torch.tensor([[1, 7, 300, 12, 44, 9]])


def some_lock(model, seed=0, k=5, scale=0.7):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(model.n_layers * model.n_heads, generator=generator)[:k]
    unit = torch.randn(k, model.d_head, generator=generator)
    return wb.HeadDirections(
        rows // model.n_heads,
        rows % model.n_heads,
        unit / unit.norm(dim=1, keepdim=True),
        torch.full((k,), scale),
    )


def some_residual(model, seed=0, layers=(0, 2), scale=2.0):
    unit = torch.randn(len(layers), model.d_model, generator=torch.Generator().manual_seed(seed))
    return wb.ResidualDirection(
        torch.tensor(layers),
        unit / unit.norm(dim=1, keepdim=True),
        torch.full((len(layers),), scale),
    )


@torch.no_grad()
def by_hand(model, pairs, ids=IDS, columns=slice(None)):
    """Logits with each shift added at its definition: o_proj's input, or the block's output."""
    hooks = []
    for direction, alpha in pairs:
        of_heads = isinstance(direction, wb.HeadDirections)
        places = direction.heads if of_heads else [(layer, None) for layer in direction.layers]
        for (layer, head), unit, scale in zip(places, direction.unit, direction.scale, strict=True):
            shift = alpha * scale * unit

            def before(_, args, head=head, shift=shift):
                z = args[0].clone()
                first = head * model.d_head
                z[:, columns, first : first + model.d_head] += shift
                return (z, *args[1:])

            def after(_, __, out, shift=shift):
                x = (out[0] if isinstance(out, tuple) else out).clone()
                x[:, columns] += shift
                return (x, *out[1:]) if isinstance(out, tuple) else x

            if of_heads:
                hooks.append(model.o_proj(layer).register_forward_pre_hook(before))
            else:
                hooks.append(model.layer(layer).register_forward_hook(after))
    logits = model.hf(ids).logits
    for hook in hooks:
        hook.remove()
    return logits
