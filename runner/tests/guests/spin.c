/* Never ends, and calls nothing. */
static volatile unsigned long turns;

int main(void)
{
    for (;;)
        turns++;
}
