// Written by make.py from PyTorch 2.13.0: inputs, values and gradients (of the sum) in double precision.
#pragma once

namespace golden {

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace matmul {
inline constexpr double a[] = {
    0x1.8a7eb80000000p+0, -0x1.2c78a00000000p-2, -0x1.16e2920000000p+1, 0x1.23096c0000000p-1, -0x1.15a3420000000p+0, -0x1.660a5a0000000p+0,
    0x1.9d06f40000000p-2, 0x1.ad11ca0000000p-1, -0x1.7042880000000p-1, -0x1.9d06160000000p-2, -0x1.317a300000000p-1, 0x1.74cf8c0000000p-3,
};
inline constexpr double b[] = {
    0x1.df54aa0000000p-2, -0x1.42febe0000000p-3, 0x1.7193b60000000p+0, 0x1.106f420000000p-2, -0x1.6445aa0000000p-3, -0x1.5b84a00000000p-1,
    0x1.e063b60000000p-1, 0x1.f49a4a0000000p-2, -0x1.589f3e0000000p-1, 0x1.bee3bc0000000p-1, 0x1.0e2be80000000p+0, 0x1.6c39540000000p-3,
    -0x1.09411a0000000p-1, -0x1.3a10aa0000000p-2, -0x1.94bc040000000p+0, 0x1.b4e6940000000p+0, -0x1.c8ed280000000p-2, 0x1.7cf0480000000p-1,
    0x1.855eea0000000p+0, 0x1.b48b5a0000000p+1,
};
inline constexpr double y[] = {
    -0x1.a29ad1aa65700p-2, -0x1.28d3585c8ce00p+0, 0x1.d103bd178dac0p+1, 0x1.11f56471ce450p+1, 0x1.36fb86882c848p+2, 0x1.26150df7902b8p+1,
    -0x1.71838d4684700p+0, -0x1.d5b9e3bffc520p+0, 0x1.cdc2ffe120168p+0, 0x1.303654914e7e8p+0, -0x1.87126aa188d00p-2, -0x1.cf3286aa29c20p-2,
    -0x1.94fea6c6041f8p-1, 0x1.1479ed8a91870p-1, 0x1.5651bca5814e0p+0,
};
inline constexpr double d_a[] = {
    -0x1.7864035f3c5b9p-2, -0x1.1e1da7ed60edap-2, 0x1.5a1f6800959dep+1, -0x1.4a1f5e959d5adp+1, 0x1.3084622bcb406p+0, 0x1.84b27f23c9e98p-2,
    0x1.908dd79306746p+0, -0x1.5b2714e8c32bap+1, 0x1.0adb8f3c1b2b6p+0, 0x1.faa21dd7de8acp-2, -0x1.d100539304f9cp+0, 0x1.0a594726607a4p+0,
};
inline constexpr double d_b[] = {
    0x1.d63ce4b15712ep+0, -0x1.b1fb9501c8d09p-3, -0x1.086ddde0cc4b5p+1, -0x1.029e94a72dacep+1, -0x1.e128a155f914ep-4, -0x1.682a32764cef1p-2,
    -0x1.80d2b5d253e31p+0, -0x1.45cce6a360aeep+0, 0x1.0617eacf95b24p-3, 0x1.6933ebae556cap+0, -0x1.9052462d9141ap+0, -0x1.95caec49f7112p-1,
    0x1.6a242ebe09c67p-1, 0x1.8e8fe805043acp+0, 0x1.f33c1d4cde47bp-1, 0x1.4e8b3b7057c9bp-1, 0x1.1cd1ef5b8f975p+0, 0x1.190309612ba96p-1,
    -0x1.09fa371909afbp-1, -0x1.1c36d1909faf4p+0,
};
}  // namespace matmul

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace matmul_batched {
inline constexpr double a[] = {
    0x1.304b1c0000000p-1, 0x1.8abcc00000000p+0, 0x1.03c1560000000p-1, -0x1.2e9be60000000p-1, -0x1.23747c0000000p-1, 0x1.d7067e0000000p-1,
    0x1.1c5e720000000p+0, 0x1.4a35300000000p+0, 0x1.af0cbe0000000p-1, -0x1.99a28e0000000p-2, 0x1.0a1a2e0000000p+0, 0x1.6ebfb00000000p-2,
    -0x1.b10b940000000p-9, -0x1.11a2360000000p-1, 0x1.2b2f200000000p+0, 0x1.93f8880000000p-2, -0x1.0b83b80000000p+0, -0x1.e9ba7a0000000p-1,
    0x1.12b1680000000p-5, 0x1.6b90780000000p-1, -0x1.8908940000000p+0, -0x1.a6955c0000000p-2, 0x1.eebf4e0000000p-1, 0x1.9ff1ca0000000p+0,
};
inline constexpr double b[] = {
    -0x1.4e815a0000000p+1, -0x1.b24c260000000p+0, -0x1.d3706e0000000p-3, 0x1.1eac860000000p-2, 0x1.2c040c0000000p-4, 0x1.1d02700000000p+0,
    0x1.210aaa0000000p-2, 0x1.bca5a60000000p-2, 0x1.7cb9620000000p-4, -0x1.550b060000000p-1, 0x1.3751f60000000p-1, -0x1.75c52a0000000p-1,
    -0x1.c449d40000000p-1, -0x1.acf7a80000000p-2, -0x1.9c12380000000p-1, 0x1.2197960000000p-1, 0x1.71643e0000000p-3, 0x1.bbba320000000p-4,
    -0x1.8278320000000p-1, 0x1.f45d460000000p-3, -0x1.3cb9ee0000000p-4, 0x1.dcc4d40000000p-4, -0x1.301f900000000p-1, -0x1.3e72140000000p+0,
};
inline constexpr double y[] = {
    -0x1.0473197ff21fap+1, -0x1.12d67af2c7220p-2, 0x1.b91d688940c34p+0, 0x1.8291203bd00d4p+1, -0x1.ee7da860b7336p+0, -0x1.d1dccba790ea0p-3,
    0x1.05344076596bcp+0, -0x1.08bfb4df7ab48p+1, -0x1.834ea1fd584acp+0, -0x1.cde611afc5400p-6, -0x1.5f18ca3d52b4ap+0, -0x1.00d4a44e3eb70p-1,
    -0x1.7d5e3e8fc1f64p-1, 0x1.3c40e38670418p+0, -0x1.a62f2e1ba0074p+0, -0x1.4fe6c2cc4dd40p+0, 0x1.4916dee1095c0p-3, -0x1.53007ecc90310p-2,
    0x1.4f6f3b5cc7592p-2, 0x1.5412b619f4ce8p+0, 0x1.937706589e2aap+1, 0x1.d9c59ff4defa8p+0, 0x1.28b0d0f5a080ap+2, 0x1.114dbc40e6f92p+2,
    -0x1.acd7e09e85141p+0, 0x1.01dc522626ab0p-3, -0x1.47a4031241ee8p+0, 0x1.c82b37a859b48p+0, -0x1.470753f1176acp+1, 0x1.d68ea10100e70p+0,
    0x1.3ff209fdc6d24p-4, -0x1.f14947a41a6a6p-2, 0x1.bf00d9340b7a8p-4, -0x1.39ee13c2b0ffbp+0, -0x1.015784a6d8902p+0, -0x1.16800d8d6a058p+1,
};
inline constexpr double d_a[] = {
    -0x1.d89ee292c6023p+1, -0x1.d5c80188f5797p-2, -0x1.cba29ae6d6c24p-2, -0x1.75a2d51a45644p+0, 0x1.a6c10ef41a623p+1, 0x1.b0e06f206e7bcp-4,
    -0x1.7160d90337a06p-1, -0x1.4f17f66828da8p-4, 0x1.e30f6a273f0cep-1, 0x1.7bb60d3fc6401p-2, 0x1.0c9fd951d68b2p+0, 0x1.87112c4a74e56p+0,
    -0x1.f2cb3d60dfc34p+1, -0x1.dc3df2cac721ap-3, 0x1.d09b7e5c70787p-2, -0x1.9404510c1bce6p-2, 0x1.10e869e0b1c82p-2, -0x1.1756987071943p-2,
    -0x1.18554326e6f6cp+0, -0x1.499cdf0bd85c9p+0, 0x1.d666c6ad75dc3p+1, 0x1.d69cca5599f82p-2, 0x1.d4ab99fadc314p-2, 0x1.7756be939997ep+0,
};
inline constexpr double d_b[] = {
    0x1.6334bd57bc87ep+0, 0x1.415c4e4ac3112p+1, 0x1.170af95ae4124p+0, 0x1.8d8c1e5328058p-6, -0x1.a16797eaa6279p-1, 0x1.76d611b90e740p-4,
    -0x1.37dac5054accap+1, -0x1.2dfeab1ac56b6p+1, 0x1.7ebbafffe6b32p-1, 0x1.35e127de3e403p+1, 0x1.3bede6b102ce5p+0, 0x1.8607df6cb8506p-2,
    -0x1.eb3986d02e4f5p-1, -0x1.981412d3cd93cp-3, -0x1.fe356a547593cp+0, -0x1.5356aa880f66ep+1, 0x1.890e3d886b178p-5, 0x1.11b6b0c988b90p+1,
    0x1.47a6241858661p+0, 0x1.6a1294f77048fp-1, -0x1.06f500c393373p+0, -0x1.e588a84d3a2d8p-2, -0x1.6410b3a21c886p+0, -0x1.5da698b02fcb4p+1,
};
}  // namespace matmul_batched

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace matmul_vector {
inline constexpr double a[] = {
    0x1.bbea8e0000000p-2, -0x1.bbf7d20000000p+0, -0x1.5607480000000p+0, 0x1.c631740000000p-1,
};
inline constexpr double b[] = {
    0x1.2780820000000p-2, 0x1.8be0480000000p-2, -0x1.9bc7660000000p-3, -0x1.e307680000000p-4, -0x1.a8a2c60000000p-1, -0x1.6841f80000000p+0,
    0x1.a079060000000p+0, 0x1.60d0c60000000p-3, -0x1.292d840000000p+1, -0x1.3247f00000000p+0, 0x1.9383800000000p-3, -0x1.2d659a0000000p+0,
    -0x1.0eed100000000p-4, -0x1.6ef4a20000000p-2, -0x1.8fc2820000000p+0, -0x1.6b279c0000000p-2, -0x1.a0a0ac0000000p-1, 0x1.d935820000000p-1,
    -0x1.fa8e120000000p-3, -0x1.6a56dc0000000p+0, -0x1.1422ee0000000p+0, -0x1.711b180000000p-1, 0x1.7885de0000000p+0, 0x1.1a40100000000p-2,
};
inline constexpr double y[] = {
    -0x1.73df96787fccap+1, 0x1.8cf05086f8df0p+0, 0x1.1a4bb73a61c5ep+2, 0x1.1bf710eadab20p-2, 0x1.1ce73fa9e2569p+2, -0x1.30358b3cff020p-1,
};
inline constexpr double d_a[] = {
    0x1.c06660c8930a7p-2, 0x1.2a2c7d727f877p+0, 0x1.c66b2d9b4384fp+1, -0x1.89fc7722c3c42p-1,
};
inline constexpr double d_b[] = {
    0x1.bbea8e0000000p-2, 0x1.dfb2ab2eed683p-3, -0x1.7177fab0d3e83p-3, -0x1.bbf7d20000000p+0, -0x1.dfc100eaa46e0p-1, 0x1.71830528f8dbap-1,
    -0x1.5607480000000p+0, -0x1.7198f68ef891dp-1, 0x1.1cab092a85315p-1, 0x1.c631740000000p-1, 0x1.eacda13203261p-2, -0x1.7a05a8cd70960p-2,
    -0x1.b77946c473e62p-2, -0x1.2229bb1e3ca5cp-2, 0x1.f7b061b6e70f3p-4, 0x1.b78668c82b616p+0, 0x1.223266e4503d5p+0, -0x1.f7bf6efb49843p-2,
    0x1.529b080ccb623p+0, 0x1.bf21219b1a505p-1, -0x1.8415073f2f08bp-2, -0x1.c1a5d89d209c4p-1, -0x1.28e166a21971ep-1, 0x1.01acc37e8a11bp-2,
};
}  // namespace matmul_vector

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace linear_relu {
inline constexpr double x[] = {
    0x1.c3912c0000000p-4, -0x1.a33b540000000p-1, 0x1.43f9ea0000000p-1, -0x1.eab8a00000000p+0, 0x1.2bcc7c0000000p+0, 0x1.8f581c0000000p-4,
    0x1.ed3f6e0000000p-1, 0x1.ae3ed80000000p-1, -0x1.40ef840000000p+0, 0x1.f942940000000p-1, -0x1.fa86da0000000p-2, -0x1.4875820000000p+0,
    0x1.e912d60000000p-1, 0x1.48988c0000000p+0, -0x1.54ebc00000000p-1, 0x1.2159340000000p-1, 0x1.269bb80000000p-2, -0x1.1167fe0000000p-5,
    -0x1.0fd7ec0000000p+0, -0x1.d4b08a0000000p-4,
};
inline constexpr double w[] = {
    -0x1.1e577e0000000p-1, -0x1.ea53920000000p-4, -0x1.4ef1100000000p-3, -0x1.0079700000000p-2, -0x1.1695e20000000p+0, 0x1.20d5520000000p-8,
    0x1.dcc06a0000000p-3, -0x1.a3e99a0000000p-1, -0x1.5ba86c0000000p-1, 0x1.6cd2440000000p+0, 0x1.f6f9ca0000000p+0, 0x1.89224c0000000p-1,
};
inline constexpr double b[] = {
    0x1.fd6ab20000000p+0, 0x1.6fbec40000000p-1, -0x1.fc96260000000p-2,
};
inline constexpr double y[] = {
    0x1.3392048978240p+1, 0x1.2833f007e4472p+1, 0x0.0p+0, 0x1.e918d647ae140p-1, 0x0.0p+0, 0x1.629632daaf3d0p+0,
    0x1.7cd1be80b1e6ep+1, 0x1.8311fa47f595cp+1, 0x0.0p+0, 0x1.44f6acaa0e558p+0, 0x0.0p+0, 0x0.0p+0,
    0x1.0485b1eb18f9fp+1, 0x1.01b58fc5da1fcp-2, 0x0.0p+0,
};
inline constexpr double d_x[] = {
    -0x1.25b0f66eb8bacp+0, -0x1.e092a7589f390p-4, -0x1.356817816131cp-5, -0x1.631debb63d776p-1, 0x1.71b7b4c4cebe2p-2, 0x1.0ba6445fe6865p-1,
    0x1.703f716f34f25p-1, 0x1.dcf132bf7a3fep-2, -0x1.5b7ea15380d1cp+0, -0x1.c92ff83016e24p-4, 0x1.2e95b4c2527f0p-6, -0x1.b7b3d82dae092p-1,
    0x1.04e507b04c86fp-1, 0x1.bec052d0573c6p-4, 0x1.312cebd71a0f9p-3, 0x1.d35cf4d9c86d6p-3, -0x1.759de77d2be30p+0, -0x1.8d61f2ca72284p-4,
    0x1.2bf8429b1ee20p-4, -0x1.e942ff302c3fap-1,
};
inline constexpr double d_w[] = {
    -0x1.70b0db9157ec7p+1, -0x1.2a5c5a47d5b6dp+0, -0x1.15d714f7a085ep+0, -0x1.25e6a555216d5p+2, -0x1.3fbd59a093b18p-1, 0x1.15cc04f48d591p-2,
    -0x1.fd41f55f62fa7p-1, -0x1.0dac405026b17p+1, 0x1.542a923c7885fp-2, 0x1.c51d88c6876d6p-6, 0x1.17d4dc0284fedp-2, 0x1.e82d7067e088fp-3,
};
inline constexpr double d_b[] = {
    0x1.ce491a8b7899dp-1, 0x1.19cfb60ed0cd7p+1, 0x1.22785706b4ad9p-2,
};
}  // namespace linear_relu

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace linear_silu {
inline constexpr double x[] = {
    -0x1.428a340000000p-5, -0x1.9a5a900000000p-1, -0x1.fb6ff80000000p-2, -0x1.7230be0000000p-2, 0x1.2b93f60000000p-1, -0x1.27f00c0000000p+0,
    -0x1.259c7c0000000p-3, -0x1.8ed4280000000p-3, -0x1.5e77bc0000000p-4, 0x1.64ff420000000p+0, 0x1.319ce20000000p-1, -0x1.ee6fcc0000000p-2,
    -0x1.76e28e0000000p-2, -0x1.53b9b60000000p+0, 0x1.b1fdd80000000p+0, 0x1.08624a0000000p+1, -0x1.df25340000000p-3, 0x1.6a25a00000000p-1,
    0x1.28fc100000000p-1, 0x1.12bdc80000000p-2, -0x1.078b4e0000000p+1, 0x1.116b280000000p-1, -0x1.121f480000000p-1, -0x1.ba324c0000000p-1,
    -0x1.93bd060000000p+0, 0x1.7198980000000p-2, -0x1.5a723a0000000p+0, -0x1.a825dc0000000p-3, -0x1.fd75100000000p-3, -0x1.3b64660000000p+0,
    0x1.4057ec0000000p-1, -0x1.391edc0000000p+0, -0x1.1e606e0000000p+0, 0x1.8376580000000p-2, -0x1.8f8dc60000000p-1, -0x1.bf6cf40000000p-1,
    -0x1.7731ac0000000p-1, 0x1.0752620000000p-1, 0x1.9731300000000p-2, 0x1.4973160000000p-1,
};
inline constexpr double w[] = {
    0x1.4f5e0e0000000p+0, -0x1.daed0a0000000p-1, 0x1.8cc6260000000p-1, 0x1.3ca5de0000000p+0, -0x1.8a2a660000000p-1, -0x1.fbcc980000000p-1,
    0x1.b2c0400000000p+0, 0x1.da7f7c0000000p-4, -0x1.d862500000000p-1, 0x1.06f9980000000p+0, -0x1.1efb7e0000000p+0, 0x1.76251c0000000p-1,
};
inline constexpr double b[] = {
    -0x1.680a8a0000000p-5, 0x1.29d5e00000000p+0, 0x1.3735f00000000p-3,
};
inline constexpr double y[] = {
    -0x1.550b2164a7ab7p-4, 0x1.a9172e28838aep-1, -0x1.240b4ad0fdc5ep-3, 0x1.2acaa5def8dddp+0, 0x1.530740ce9d99ep+0, -0x1.158b7d2d20d92p-2,
    -0x1.1419f70a6509dp-2, 0x1.1c5c793e27794p-1, 0x1.ae460d653c403p-2, 0x1.21e1084078ca8p+2, 0x1.774086a8173d8p+2, -0x1.1d2041c527d47p-2,
    -0x1.9972efa396ba9p-4, 0x1.64915fb6eb991p+0, 0x1.ad46f30b8250cp-2, -0x1.55bccd540e3e0p-5, 0x1.dd012f7b7ab7ap-1, 0x1.3176b1983278bp+1,
    -0x1.6101527e693ccp-4, -0x1.075ed4ef8a72ap-3, 0x1.9d6096a0fdee3p+1, -0x1.c81ebb1e852edp-4, 0x1.b28c8c667a60dp+1, -0x1.889cd45fdd249p-3,
    -0x1.971ec2aad5381p-4, 0x1.fb03de0b9cbb9p-4, 0x1.8dea183ecbf69p+0, -0x1.3a1820bfcba6fp-3, 0x1.b9da912b06e85p+0, 0x1.1a7a5046a0adfp+0,
};
inline constexpr double d_x[] = {
    0x1.0ede023105408p-2, -0x1.08c21ddeea1c8p+0, 0x1.59ae58ab4d8ecp+0, 0x1.dc0a469ebcb6cp-2, -0x1.96ce6664053d9p-1, 0x1.9def06d23aa57p+0,
    -0x1.f25ca850f031ep+0, -0x1.5a948ebcfdbc5p+0, -0x1.d7a00d3ff14d7p-2, -0x1.6f025d1e248fdp-1, 0x1.31e8fe8d69345p+0, -0x1.2c573682dccf1p-4,
    -0x1.29e5a3dda5521p-1, 0x1.b812d9c5b60f6p+0, -0x1.167f531d207a6p+1, -0x1.441a60826fcf3p+0, -0x1.a7ff2e4a684e5p-2, -0x1.25f45df0ad00dp+0,
    0x1.c4f3f499edd2ep+0, 0x1.31a6bb67e53f0p-1, 0x1.09755f3ce01c6p+0, 0x1.33ef591d08accp-1, -0x1.3e2620f214af6p+0, -0x1.32bfcfd08604ap-2,
    -0x1.7350a4295f2eep-1, 0x1.27cb7407a1158p-3, 0x1.0d11c965fb484p-4, 0x1.3e8bb3e3789cdp-2, 0x1.037bb150fc050p-1, 0x1.4e5397be9aa55p+0,
    -0x1.049568594693ap+1, -0x1.5a9e16297dbb7p-2, -0x1.25bcc19a4ee52p+0, 0x1.254df51bd9df4p-3, 0x1.c95c7da3af0a8p-3, 0x1.1665d3b077f3bp-1,
    0x1.64040aa45ddbep+0, 0x1.5d1dbdbd788e8p-2, -0x1.fdde351f0348ep-1, -0x1.9651f93ae9c84p-1,
};
inline constexpr double d_w[] = {
    -0x1.699a267aa688ep-3, 0x1.3aacc1822a55dp+1, -0x1.98f92503981dep+0, -0x1.950bc0eeaf319p+0, 0x1.5b7c93b93ae5ap+0, 0x1.dd75f2ecb64a3p+1,
    -0x1.16745bac9c0f6p+1, -0x1.0440de4f3a876p+0, -0x1.4a11d130a6cc4p-2, -0x1.3e00098d3dee4p-3, -0x1.2ec8e2cb41b53p+0, -0x1.b6f522363a3f3p-1,
};
inline constexpr double d_b[] = {
    -0x1.9f48a2e0b733ap+0, -0x1.844d434b800bep+0, -0x1.2298016914e92p-5,
};
}  // namespace linear_silu

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace softmax {
inline constexpr double x[] = {
    0x1.104e748000000p+1, 0x1.38befc8000000p+0, -0x1.7427630000000p+2, -0x1.eb7e9d0000000p+1, -0x1.02dc758000000p+2, 0x1.720c260000000p-3,
    -0x1.c8ba8d0000000p-1, 0x1.28de3e8000000p+2, -0x1.4addfa0000000p+0, -0x1.937fd60000000p+0, -0x1.6e19038000000p+0, 0x1.45704f0000000p+2,
    0x1.0ad7c38000000p+0, 0x1.bdb6090000000p+0, -0x1.8bf7ab0000000p-2,
};
inline constexpr double y[] = {
    0x1.6b50512b24d50p-1, 0x1.25bc9a74bd286p-2, 0x1.086ed2165312ap-12, 0x1.dc7736a20298ap-10, 0x1.843049d1962afp-10, 0x1.7429210f6a8d9p-7,
    0x1.fd38e36607941p-9, 0x1.f5dc02b5a336ap-1, 0x1.5534745e19d4ap-9, 0x1.00eb6e5afdd02p-9, 0x1.6ec335415eec0p-10, 0x1.e3affc012a97dp-1,
    0x1.0fa8dbee2bbcbp-6, 0x1.112c63bbbbd1fp-5, 0x1.044aa483cedd2p-8,
};
inline constexpr double d_x[] = {
    0x1.91ef98af06e22p-4, -0x1.79a39e8b2c3e9p-4, -0x1.51e869de649f7p-12, -0x1.b92303f6014b7p-9, -0x1.261f3349868c5p-9, -0x1.5675836d7f2efp-8,
    0x1.b8ceda73228bbp-11, 0x1.45d3beb1306bep-7, -0x1.2f6b4dfc893dbp-9, -0x1.a92c5c8a02ba9p-9, -0x1.45459ebc43ad9p-10, -0x1.4fb04728f5236p-5,
    0x1.b082a725a60ddp-7, 0x1.d5aa09b25871ap-6, 0x1.7262be20c23dfp-12,
};
}  // namespace softmax

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace softmax_first {
inline constexpr double x[] = {
    0x1.826a720000000p+1, 0x1.99f1fa0000000p+0, -0x1.f2fa410000000p-3, -0x1.7c3a420000000p+0, 0x1.73171e8000000p+2, -0x1.2ffa230000000p+2,
    -0x1.c4e21e0000000p+0, -0x1.0cd4e10000000p-1, 0x1.0f07028000000p+0, -0x1.58a15d8000000p+1, -0x1.f4fc790000000p+0, -0x1.a5f9800000000p-3,
};
inline constexpr double y[] = {
    0x1.dae347e2fa737p-5, 0x1.f83c511eb4693p-1, 0x1.6e4ae048d819ap-1, 0x1.1c347a48b6011p-3, 0x1.de23b56a12523p-1, 0x1.c28240e3874efp-10,
    0x1.3eb6a8d89b601p-3, 0x1.73342414ebd3ep-2, 0x1.0b8585ef81a13p-7, 0x1.b89b703674caep-7, 0x1.081dd6040439bp-3, 0x1.feb19ec6b92bbp-2,
};
inline constexpr double d_x[] = {
    0x1.70e6a0e37cf4cp-4, 0x1.4205fa2750718p-6, -0x1.d3cf210b44112p-4, -0x1.409d3863b08d0p-3, -0x1.7e8c8923f7f39p-4, -0x1.aa82b6ec74569p-12,
    0x1.83c538758ab76p-3, 0x1.c929fea2a508cp-3, 0x1.b4bd080f5fce2p-9, -0x1.3b5bef4b9e9f5p-6, -0x1.33bb4fdfd15dcp-4, -0x1.11198c7de8f77p-4,
};
}  // namespace softmax_first

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace log_softmax {
inline constexpr double x[] = {
    -0x1.b191b50000000p+2, 0x1.444f5a8000000p+1, -0x1.e587e80000000p+1, -0x1.5ce2e90000000p+0, -0x1.09f44d8000000p-1, -0x1.da23af0000000p+1,
    -0x1.0f84080000000p+2, -0x1.2ac28e8000000p+2, -0x1.4331150000000p+0, -0x1.7654898000000p+0, 0x1.1d1a7a8000000p+0, 0x1.43c42a0000000p+1,
    -0x1.833f540000000p+0, 0x1.d0a42c0000000p-2, 0x1.fb1bd50000000p+0,
};
inline constexpr double y[] = {
    -0x1.2c026086d2166p+3, -0x1.12d7b3690b31fp-4, -0x1.9937000da42ccp+2, -0x1.fb578c9b48599p+1, -0x1.8f632b7b48599p+1, -0x1.909e8d669ae35p+1,
    -0x1.d582ee669ae35p+1, -0x1.05fffdb34d71bp+2, -0x1.604da39a6b8d5p-1, -0x1.c6948c9a6b8d5p-1, -0x1.0b95b6e4cf5a9p+1, -0x1.597b28933d6a5p-1,
    -0x1.2de14f1267ad5p+2, -0x1.600e6ea4cf5a9p+1, -0x1.392a13499eb52p+0,
};
inline constexpr double d_x[] = {
    0x1.0002e30381294p+0, 0x1.06ac7c48e31f8p+0, -0x1.a93ec301faf77p-2, -0x1.f5d2fa3ea0a25p-1, -0x1.42ec62d92a737p-1, 0x1.f0aa693559c3cp-3,
    0x1.df4ebf34b542fp-1, 0x1.79f660e1d370ap-1, -0x1.3ca3c0d20276bp-1, -0x1.4c65fcc8ee56ep+0, -0x1.f047a57aa318dp-1, -0x1.106794495e5acp-1,
    0x1.ab3adae20535ap-1, 0x1.ae2637c181c96p-1, -0x1.62c7637e162dfp-3,
};
}  // namespace log_softmax

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace cross_entropy {
inline constexpr double x[] = {
    0x1.79fb5e0000000p+1, -0x1.2949a40000000p-1, 0x1.06f2200000000p+0, -0x1.ce6f4a0000000p-2, -0x1.45a1d60000000p+0, 0x1.1bb0aa0000000p+1,
    -0x1.6f7ebc0000000p-7, 0x1.755fe00000000p+1, -0x1.84d85c0000000p+0, -0x1.f11bdc0000000p-4, 0x1.c8070c0000000p+0, 0x1.e4914c0000000p-1,
    -0x1.0a94580000000p+0, 0x1.068a980000000p+1, -0x1.e6e69c0000000p-1, 0x1.be3ff00000000p+1, -0x1.51b0bc0000000p+0, 0x1.823e240000000p-2,
    -0x1.a7b3260000000p-1, 0x1.e6cacc0000000p-1, 0x1.a49aa20000000p-3, -0x1.ee99980000000p-1, -0x1.87ebb60000000p-1, 0x1.6524300000000p+1,
    -0x1.07c9cc0000000p+1, -0x1.9fabee0000000p+1, -0x1.8c832e0000000p-2, 0x1.9e47540000000p+0, 0x1.667ff60000000p-3, 0x1.6844900000000p+0,
};
inline constexpr double labels[] = {
    0x1.0000000000000p+0, 0x0.0p+0, 0x1.0000000000000p+2, -0x1.9000000000000p+6, 0x1.0000000000000p+1,
};
inline constexpr double y[] = {
    0x1.ea670827ef182p+1,
};
inline constexpr double d_x[] = {
    0x1.2ce8c6c8bf179p-3, -0x1.f736b9e5f95a2p-3, 0x1.5edd319b3f5f1p-6, 0x1.3fe2d17cebea2p-8, 0x1.19a9763bf1adap-9, 0x1.20192109f6616p-4,
    -0x1.ee990872f100cp-3, 0x1.4551388d99497p-3, 0x1.ed3368c03967bp-10, 0x1.f2ca17008def6p-8, 0x1.a1fe2e5938a2ap-5, 0x1.6abc662c25632p-6,
    0x1.0d9305bb17843p-9, 0x1.732df7c836d23p-5, 0x1.27105c05e71dfp-9, 0x1.85cac0337e80cp-3, -0x1.fccf3a0e7a99ap-3, 0x1.1666e61ea69bdp-7,
    0x0.0p+0, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0,
    0x1.75b8b715ab458p-9, 0x1.c8548c75397f6p-11, -0x1.e0de0fc8388ecp-3, 0x1.ce9da259b0d92p-4, 0x1.b503739fd5586p-6, 0x1.769f317d33212p-4,
};
}  // namespace cross_entropy

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace sum_axis {
inline constexpr double x[] = {
    0x1.5231fe0000000p-2, -0x1.8009e80000000p-3, 0x1.0f96200000000p+0, -0x1.0561580000000p-6, 0x1.46912e0000000p+0, 0x1.35e5040000000p-7,
    -0x1.7a51180000000p-2, 0x1.37dbd00000000p+0, 0x1.0bf4d40000000p-7, 0x1.3cbfee0000000p-2, 0x1.74f8b20000000p-2, 0x1.68ff420000000p-4,
    -0x1.4e91ba0000000p+0, -0x1.69a9260000000p-1, -0x1.5050940000000p-3, -0x1.f164480000000p-1, -0x1.1f6d600000000p+1, -0x1.0a8eba0000000p+0,
    -0x1.8661200000000p-3, 0x1.6eece00000000p-1, -0x1.0006340000000p+1, -0x1.346fac0000000p+1, 0x1.c160c60000000p-3, -0x1.b2e8860000000p+0,
};
inline constexpr double y[] = {
    0x1.9d35972800000p+0, 0x1.0cd4444000000p-3, 0x1.0e40068000000p+0, 0x1.4a563ec000000p+0, -0x1.635e388000000p+2, -0x1.0a10a94000000p+2,
    -0x1.1550ee0000000p-3, -0x1.f4243a0000000p+0,
};
inline constexpr double d_x[] = {
    0x1.0000000000000p+0, 0x1.14a280fb5068cp-1, -0x1.aa22657537205p-2, -0x1.fae04be85e5d2p-1, 0x1.0000000000000p+0, 0x1.14a280fb5068cp-1,
    -0x1.aa22657537205p-2, -0x1.fae04be85e5d2p-1, 0x1.0000000000000p+0, 0x1.14a280fb5068cp-1, -0x1.aa22657537205p-2, -0x1.fae04be85e5d2p-1,
    -0x1.4eaa606db24c1p-1, 0x1.22785706b4ad9p-2, 0x1.eb9b7097822f5p-1, 0x1.81ff79ed92017p-1, -0x1.4eaa606db24c1p-1, 0x1.22785706b4ad9p-2,
    0x1.eb9b7097822f5p-1, 0x1.81ff79ed92017p-1, -0x1.4eaa606db24c1p-1, 0x1.22785706b4ad9p-2, 0x1.eb9b7097822f5p-1, 0x1.81ff79ed92017p-1,
};
}  // namespace sum_axis

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace mean_axes {
inline constexpr double x[] = {
    0x1.db37b80000000p-3, -0x1.bb56be0000000p+0, -0x1.1796dc0000000p-1, -0x1.42a6b40000000p-1, -0x1.44f0dc0000000p-1, 0x1.f3073a0000000p-1,
    0x1.adc1ea0000000p-3, 0x1.e9b7280000000p-6, -0x1.86da5c0000000p-2, -0x1.d1f2e20000000p-5, -0x1.c0ffba0000000p-1, 0x1.0b69320000000p-1,
    0x1.d917e80000000p-2, -0x1.544afe0000000p+0, -0x1.2f13d80000000p-2, 0x1.5f15040000000p+0, 0x1.5717d00000000p-2, 0x1.2c04140000000p+0,
    -0x1.9d974e0000000p-2, -0x1.4e1c000000000p-2, 0x1.7f16660000000p-1, -0x1.8ff8c00000000p-3, 0x1.5a7fbc0000000p-1, -0x1.4a455c0000000p-4,
};
inline constexpr double y[] = {
    -0x1.3be1c28000000p-2, 0x1.5b477d6000000p-3, 0x1.6c58c4c000000p-5,
};
inline constexpr double d_x[] = {
    0x1.0000000000000p-3, 0x1.0000000000000p-3, 0x1.0000000000000p-3, 0x1.0000000000000p-3, 0x1.14a280fb5068cp-4, 0x1.14a280fb5068cp-4,
    0x1.14a280fb5068cp-4, 0x1.14a280fb5068cp-4, -0x1.aa22657537205p-5, -0x1.aa22657537205p-5, -0x1.aa22657537205p-5, -0x1.aa22657537205p-5,
    0x1.0000000000000p-3, 0x1.0000000000000p-3, 0x1.0000000000000p-3, 0x1.0000000000000p-3, 0x1.14a280fb5068cp-4, 0x1.14a280fb5068cp-4,
    0x1.14a280fb5068cp-4, 0x1.14a280fb5068cp-4, -0x1.aa22657537205p-5, -0x1.aa22657537205p-5, -0x1.aa22657537205p-5, -0x1.aa22657537205p-5,
};
}  // namespace mean_axes

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace var_axis {
inline constexpr double x[] = {
    0x1.8130fa0000000p-4, -0x1.9ddd420000000p-3, 0x1.90184c0000000p+1, 0x1.6d69aa0000000p-3, -0x1.4a51560000000p-1, 0x1.6dd35a0000000p-7,
    0x1.c98e880000000p-2, 0x1.f3848e0000000p-1, -0x1.a8fb800000000p-3, -0x1.f4eeec0000000p-6, 0x1.09ed700000000p-2, 0x1.391dec0000000p-1,
    0x1.2e72280000000p+0, -0x1.1ad4c80000000p+0, 0x1.8186860000000p-1, 0x1.4b6a500000000p-2, -0x1.199c3a0000000p-2, 0x1.4e3c940000000p+0,
    0x1.1023080000000p+0, 0x1.79c56a0000000p-1, -0x1.f6a36e0000000p-3, -0x1.3961f20000000p-2, -0x1.20db600000000p-1, -0x1.18935c0000000p-2,
    0x1.1e45480000000p-3, 0x1.04623e0000000p-1, 0x1.540ac80000000p-2, -0x1.3f6c580000000p-3, -0x1.5553000000000p+0, -0x1.7fd2c20000000p+0,
};
inline constexpr double y[] = {
    0x1.e007218080095p-3, 0x1.4c0eb65b05daap-1, 0x1.c4476151cf622p+0, 0x1.254c9fc31071dp-2, 0x1.66cc6ad9064b2p-1, 0x1.0ad271e48bbbep+0,
};
inline constexpr double d_x[] = {
    -0x1.1eb59da666666p-3, -0x1.03fa3c44b6743p-6, -0x1.e30387c6e5ff8p-2, -0x1.909a0e4ccccccp-4, -0x1.15a255b9c792ep-3, 0x1.69336b424ed04p-3,
    0x1.2a32af6666668p-5, 0x1.358b83c50be51p-2, 0x1.c662c4928c7cap-3, -0x1.9e50cae666666p-3, 0x1.bdfadcc3d12dep-4, 0x1.a5698a4cc18c5p-5,
    0x1.9d6361ecccccdp-2, -0x1.09f96c54d0ffdp-2, 0x1.68b3e92e0278bp-6, -0x1.c11e3eb992005p-5, 0x1.e0cf560afd7ebp-6, 0x1.9160cd2c2a57ap-3,
    -0x1.aeead4a4bbaa9p-2, -0x1.34e9d856e776ap-2, -0x1.8938ee1aaf1e7p-6, 0x1.070863408547dp-2, 0x1.fb4b817c8f253p-4, -0x1.cb9d295d85a43p-6,
    0x1.2877024b397d1p-5, -0x1.d05e2d331971bp-3, 0x1.da604d341d22cp-5, 0x1.75eeb1e402e66p-3, 0x1.80391930a08e4p-2, -0x1.9d5e1d8a2b080p-3,
};
}  // namespace var_axis

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace max_axis {
inline constexpr double x[] = {
    -0x1.4f44b20000000p-4, -0x1.65c9240000000p-2, 0x1.9e91cc0000000p-3, -0x1.274dfc0000000p-2, -0x1.36a4560000000p-7, -0x1.a9a1b00000000p-1,
    -0x1.1cd2180000000p-1, 0x1.0908580000000p+1, 0x1.75368e0000000p-2, 0x1.45a2540000000p+1, -0x1.5840760000000p+1, 0x1.38a76a0000000p+1,
    0x1.9d24c20000000p-2, 0x1.dfff580000000p-3, -0x1.d634580000000p-1, -0x1.7fc6ce0000000p-1, -0x1.84d86a0000000p-4, 0x1.19d25e0000000p+0,
    0x1.4f7a5a0000000p+0, -0x1.2bdfa40000000p-2, 0x1.ac1cda0000000p-2, -0x1.21c4160000000p+0, -0x1.1661de0000000p+1, 0x1.70c4440000000p-1,
    0x1.244c000000000p-2, 0x1.d50dbc0000000p-3, 0x1.4884520000000p+0, -0x1.6113960000000p+0, 0x1.6777c60000000p+0, -0x1.1874b00000000p-1,
};
inline constexpr double y[] = {
    0x1.45a2540000000p+1, 0x1.0908580000000p+1, 0x1.38a76a0000000p+1, 0x1.4f7a5a0000000p+0, 0x1.6777c60000000p+0, 0x1.4884520000000p+0,
};
inline constexpr double d_x[] = {
    0x0.0p+0, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0,
    0x0.0p+0, 0x1.14a280fb5068cp-1, 0x0.0p+0, 0x1.0000000000000p+0, 0x0.0p+0, -0x1.aa22657537205p-2,
    0x0.0p+0, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0,
    -0x1.fae04be85e5d2p-1, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0,
    0x0.0p+0, 0x0.0p+0, 0x1.22785706b4ad9p-2, 0x0.0p+0, -0x1.4eaa606db24c1p-1, 0x0.0p+0,
};
}  // namespace max_axis

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace broadcast {
inline constexpr double x[] = {
    -0x1.5e3a240000000p-3, 0x1.01da800000000p+0, -0x1.b252be0000000p-1, -0x1.a3adf60000000p+0, 0x1.b296e40000000p-2, 0x1.b053cc0000000p-1,
};
inline constexpr double w[] = {
    -0x1.d371b00000000p-1, -0x1.1dd9700000000p+0, 0x1.71a88e0000000p+1, 0x1.d7c6400000000p+0,
};
inline constexpr double b[] = {
    0x1.f6326a0000000p-1, -0x1.84d59e0000000p-2,
};
inline constexpr double y[] = {
    -0x1.1cdf7b3636dd9p-3, -0x1.bc4e0617eb532p-1, -0x1.20e26f041a24bp-3, -0x1.d3333e537e29bp-1, -0x1.3c7ad7d1ccfefp-4, 0x1.fd313d2846bd9p-1,
    -0x1.97c49ad8d1f26p-4, 0x1.d08da00d70d9ap-1, -0x1.991f77705a1efp-1, -0x1.527abdacfcd24p+0, -0x1.a054e3dd08afap-1, -0x1.77f86e1a0ee89p+0,
    0x1.869f178eff2b8p-1, 0x1.a3a6327d147a6p+0, 0x1.c78b0f91d23eap-2, 0x1.a2bf51bb65c3ap+0, 0x1.ceaf509762a29p-3, -0x1.61a0a1de54622p-1,
    0x1.96686757ff77fp-3, -0x1.770274bce528dp-1, 0x1.a82eb38e39fc5p-2, 0x1.a2796d64af322p-1, 0x1.99beead2ded2bp-2, 0x1.653c11e1c17d1p-1,
};
inline constexpr double d_x[] = {
    0x1.a2d9d0330f7c4p-1, 0x1.bf271f69de264p+0, -0x1.331b2760ca590p+1, -0x1.5882cda3f1854p+0, -0x1.9319abc75a28ep-1, -0x1.0e3052a71b2cap+1,
};
inline constexpr double d_w[] = {
    -0x1.cf62829a081a7p-1, 0x1.2e1b927d7e918p-5, 0x1.65730481b0173p-4, 0x1.5a3bee0040720p-4,
};
inline constexpr double d_b[] = {
    -0x1.42c008e00ef7ep-2, 0x1.31032d12bc86bp-1,
};
}  // namespace broadcast

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace index_select {
inline constexpr double x[] = {
    -0x1.a097680000000p+0, 0x1.0caf800000000p-1, 0x1.2525de0000000p-1, 0x1.3ada120000000p-1, -0x1.d850e60000000p-1, -0x1.b784260000000p-2,
    -0x1.48b63e0000000p-4, -0x1.2f91c80000000p+0, -0x1.9962360000000p+0, -0x1.6f97080000000p-1, -0x1.e3233a0000000p+0, 0x1.0e9c400000000p+1,
};
inline constexpr double indices[] = {
    0x1.0000000000000p+1, 0x0.0p+0, 0x1.0000000000000p+1, 0x1.8000000000000p+1,
};
inline constexpr double y[] = {
    -0x1.48b63e0000000p-4, -0x1.2f91c80000000p+0, -0x1.9962360000000p+0, -0x1.a097680000000p+0, 0x1.0caf800000000p-1, 0x1.2525de0000000p-1,
    -0x1.48b63e0000000p-4, -0x1.2f91c80000000p+0, -0x1.9962360000000p+0, -0x1.6f97080000000p-1, -0x1.e3233a0000000p+0, 0x1.0e9c400000000p+1,
};
inline constexpr double d_x[] = {
    -0x1.fae04be85e5d2p-1, -0x1.4eaa606db24c1p-1, 0x1.22785706b4ad9p-2, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0,
    0x1.f5cdb84bc117ap+0, 0x1.4b50fd7471352p+0, -0x1.1f902db8284e8p-1, -0x1.d27faa6a6196bp-1, -0x1.ad9ac890c6b1fp-1, 0x1.220ae41ee2fdfp-8,
};
}  // namespace index_select

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace gather {
inline constexpr double x[] = {
    -0x1.060f800000000p+0, -0x1.a01d6c0000000p-1, -0x1.0a6ad20000000p+0, 0x1.7d2dc20000000p+0, 0x1.d488d60000000p-2, -0x1.038b1a0000000p-2,
    -0x1.f9196e0000000p-1, 0x1.0c5f6e0000000p-1, -0x1.bec92c0000000p-2, -0x1.46e4e20000000p-5, -0x1.345b2a0000000p+0, 0x1.f8cca80000000p-5,
};
inline constexpr double indices[] = {
    0x0.0p+0, 0x1.8000000000000p+1, 0x1.0000000000000p+0, 0x1.0000000000000p+0, 0x1.0000000000000p+1, 0x0.0p+0,
};
inline constexpr double y[] = {
    -0x1.060f800000000p+0, 0x1.7d2dc20000000p+0, -0x1.038b1a0000000p-2, -0x1.038b1a0000000p-2, -0x1.345b2a0000000p+0, -0x1.bec92c0000000p-2,
};
inline constexpr double d_x[] = {
    0x1.0000000000000p+0, 0x0.0p+0, 0x0.0p+0, 0x1.14a280fb5068cp-1, 0x0.0p+0, -0x1.67f8bf517cf6ap+0,
    0x0.0p+0, 0x0.0p+0, 0x1.22785706b4ad9p-2, 0x0.0p+0, -0x1.4eaa606db24c1p-1, 0x0.0p+0,
};
}  // namespace gather

// The gradients are those of sum(y[i] * cos(i)), i in row-major order.
namespace concat {
inline constexpr double a[] = {
    0x1.1c767a0000000p-1, -0x1.7b25da0000000p-2, -0x1.2932de0000000p-3, -0x1.77bc840000000p-1, -0x1.00b3a00000000p+0, 0x1.39c36c0000000p+0,
};
inline constexpr double b[] = {
    0x1.ee04c40000000p-6, -0x1.0b70800000000p+0, 0x1.4d501e0000000p-4, 0x1.c2b4620000000p-2,
};
inline constexpr double y[] = {
    0x1.1c767a0000000p-1, -0x1.7b25da0000000p-2, -0x1.2932de0000000p-3, 0x1.dcab32435b080p-11, 0x1.1763dc7040000p+0, -0x1.77bc840000000p-1,
    -0x1.00b3a00000000p+0, 0x1.39c36c0000000p+0, 0x1.b1f9871ec3840p-8, 0x1.8cbf53d0fac20p-3,
};
inline constexpr double d_a[] = {
    0x1.0000000000000p+0, 0x1.14a280fb5068cp-1, -0x1.aa22657537205p-2, 0x1.22785706b4ad9p-2, 0x1.eb9b7097822f5p-1, 0x1.81ff79ed92017p-1,
};
inline constexpr double d_b[] = {
    -0x1.e9132107a7eb9p-5, 0x1.5d9ec471c92a3p+0, -0x1.83f9f39482e50p-6, -0x1.9aa68ef3d8ca2p-1,
};
}  // namespace concat

}  // namespace golden
