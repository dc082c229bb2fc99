// Cosine and sine of k / S of a turn for all k below S, one a cycle, in units of 2^-16: the nearest of 4096 angles from a
// table of the first quarter, and the rest to first order.
module roots (
    input clk,
    input rst,
    input start,
    input [31:0] step,  // 2^32 / S, rounded; any for an S of 1
    input [9:0] tokens,
    output busy,
    output reg valid,
    output reg [8:0] index,
    output reg [35:0] root  // cosine in the high half
);
    localparam signed [15:0] TURN = 25736;  // 2 pi in units of 2^-12

    reg running;
    reg [8:0] k, k1, k2, k3, k4;
    reg [31:0] phase;
    reg v1, v2, v3, v4;
    wire [32:0] rounded = {1'b0, phase} + 33'd524288;
    wire [11:0] nearest = rounded[31:20];

    reg [39:0] quarter[0:1023];
    initial $readmemh("tables/quarter.hex", quarter);
    reg [39:0] entry;
    reg [1:0] side;
    reg signed [19:0] rest1, cos, sin, cos3, sin3;
    reg signed [35:0] scaled;
    wire signed [35:0] scaled_up = scaled + 32768;
    reg signed [19:0] angle;
    wire signed [19:0] c = entry[39:20], s = entry[19:0];
    reg signed [39:0] along, down;
    assign busy = running | v1 | v2 | v3 | v4 | valid;

    always @(posedge clk) begin
        if (start) begin
            running <= 1;
            k <= 0;
            phase <= 0;
        end else if (running) begin
            k <= k + 1'b1;
            phase <= phase + step;
            if (k + 10'd1 == tokens) running <= 0;
        end
        {v1, k1} <= {running & !start, k};
        entry <= quarter[nearest[9:0]];
        side <= nearest[11:10];
        rest1 <= $signed(phase[19:0]);

        {v2, k2} <= {v1, k1};
        scaled <= rest1 * TURN;
        cos <= side == 0 ? c : side == 1 ? -s : side == 2 ? -c : s;
        sin <= side == 0 ? s : side == 1 ? c : side == 2 ? -s : -c;

        {v3, k3} <= {v2, k2};
        angle <= scaled_up >>> 16;
        {cos3, sin3} <= {cos, sin};

        {v4, k4} <= {v3, k3};
        valid <= v4;
        index <= k4;
        if (rst) {running, v1, v2, v3, v4, valid} <= 0;
    end

    // The products, and what they are added to.
    reg signed [19:0] cos4, sin4;
    always @(posedge clk) begin
        down <= angle * sin3;
        along <= angle * cos3;
        {cos4, sin4} <= {cos3, sin3};
    end
    wire signed [48:0] cosine = (49'sd268435456 * cos4) - down + 49'sd536870912;
    wire signed [48:0] sine = (49'sd268435456 * sin4) + along + 49'sd536870912;
    always @(posedge clk) root <= {cosine[47:30], sine[47:30]};
endmodule
