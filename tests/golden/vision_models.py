"""Writes tests/golden/vision_<model>.safetensors: the state dict of small forms of torchvision's networks, under its own
names, and tests/golden/vision_models.safetensors: what they make of x in training and in inference, and some gradients.

Run with a Python that has PyTorch and torchvision.
"""
import torch
from golden import Family, r
from torch import nn
from torchvision.models import DenseNet, resnet, vgg


class SmallResNet(resnet.ResNet):
    """torchvision's network with narrow stages."""

    def __init__(self, block, stem):
        nn.Module.__init__(self)
        self._norm_layer = nn.BatchNorm2d
        self.inplanes, self.dilation, self.groups, self.base_width = 4, 1, 1, 64
        imagenet = stem == "imagenet"
        self.conv1 = nn.Conv2d(3, 4, 7 if imagenet else 3, stride=2 if imagenet else 1, padding=3 if imagenet else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if imagenet else nn.Identity()
        for stage, (width, depth) in enumerate([(4, 1), (6, 2), (5, 1), (8, 1)]):
            setattr(self, f"layer{stage + 1}", self._make_layer(block, width, depth, stride=1 if stage == 0 else 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * block.expansion, 5)


def small_vgg():
    net = vgg.VGG(vgg.make_layers([4, "M", 6, 6, "M"], batch_norm=True), num_classes=5)
    net.avgpool = nn.AdaptiveAvgPool2d(1)
    net.classifier = nn.Sequential(nn.Linear(6, 5))
    return net


MODELS = {
    "resnet_basic": lambda: SmallResNet(resnet.BasicBlock, "small"),
    "resnet_bottleneck": lambda: SmallResNet(resnet.Bottleneck, "imagenet"),
    "densenet": lambda: DenseNet(growth_rate=4, block_config=(2, 3), num_init_features=6, bn_size=4, num_classes=5),
    "vgg": small_vgg,
}

with Family("vision_models") as family:
    for name, make in MODELS.items():
        torch.manual_seed(1)
        net = make().double()
        with torch.no_grad():
            for key, value in net.state_dict().items():
                if value.dtype.is_floating_point:
                    value.copy_(value.float().double())
                if key.endswith("running_var"):
                    value.add_(0.25)
        net.train()
        with Family(f"vision_{name}") as weights:
            for key, value in net.state_dict().items():
                weights.put(key, value)
        x = r(2, 3, 19, 22)
        family.put(f"{name}/x", x)
        with torch.no_grad():
            net.eval()
            family.put(f"{name}/eval", net(x))
            net.train()
        y = net(x)
        family.put(f"{name}/train", y)
        (y * torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)).sum().backward()
        for key, parameter in net.named_parameters():
            family.put(f"{name}/d_{key}", parameter.grad)
        for key, value in net.state_dict().items():
            if "running" in key or "tracked" in key:
                family.put(f"{name}/after_{key}", value)
