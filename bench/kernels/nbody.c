/* Five bodies around each other, one step of time after the other. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define BODIES 5
#define STEPS 3000000

struct body {
    double x, y, z, vx, vy, vz, mass;
};

static struct body bodies[BODIES] = {
    {0, 0, 0, 0, 0, 0, 39.478},
    {4.841, -1.160, -0.103, 0.606, 2.811, -0.020, 0.0376},
    {8.343, 4.124, -0.403, -1.010, 1.825, 0.008, 0.0112},
    {12.894, -15.111, -0.223, 1.082, 0.868, -0.010, 0.0017},
    {15.379, -25.919, 0.179, 0.979, 0.594, -0.034, 0.0020},
};

static void step(double time)
{
    for (int i = 0; i < BODIES; i++) {
        struct body *a = &bodies[i];
        for (int j = i + 1; j < BODIES; j++) {
            struct body *b = &bodies[j];
            double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
            double square = dx * dx + dy * dy + dz * dz;
            double pull = time / (square * sqrt(square));
            a->vx -= dx * b->mass * pull;
            a->vy -= dy * b->mass * pull;
            a->vz -= dz * b->mass * pull;
            b->vx += dx * a->mass * pull;
            b->vy += dy * a->mass * pull;
            b->vz += dz * a->mass * pull;
        }
    }
    for (int i = 0; i < BODIES; i++) {
        bodies[i].x += time * bodies[i].vx;
        bodies[i].y += time * bodies[i].vy;
        bodies[i].z += time * bodies[i].vz;
    }
}

int main(void)
{
    uint64_t sum = 0, bits;
    for (int i = 0; i < STEPS; i++) step(0.001);
    for (int i = 0; i < BODIES; i++) {
        double position = bodies[i].x + bodies[i].y + bodies[i].z;
        memcpy(&bits, &position, sizeof bits);
        sum = sum * 31 + bits;
    }
    return printf("%016llx\n", (unsigned long long)sum) < 0;
}
